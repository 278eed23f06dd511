"""Base models: each family against a direct call of its network, and what happens when files or memory fail."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from demucs.apply import apply_model
from julius.resample import resample_frac
from onnx import TensorProto, helper
from safetensors.torch import save_file

from spectacles_engine.chunking import Array, in_chunks
from spectacles_engine.devices import Placement, gpus, pick_device
from spectacles_engine.errors import ModelError, ModelMissingError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.separators import Separator
from spectacles_engine.separators.demucs import DemucsSeparator, load_demucs, save_demucs
from spectacles_engine.separators.mdx import MdxSeparator
from spectacles_engine.spectrogram import Stft
from tests.engine.fakes import DEMUCS_ORDER, KUIELAB_N_FFT, tiny_demucs, write_net

ROOT = Path(__file__).parents[2]


def noise(*shape: int) -> Array:
    return 0.1 * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def separated(separator: Separator, song: Array, stem: str) -> Array:
    out = in_chunks(
        [song],
        lambda chunks: separator.estimate(chunks, [stem])[stem],
        chunk_samples=separator.chunk_samples,
        overlap=separator.overlap,
        margin_samples=separator.margin_samples,
        batch=separator.placement.batch,
    )
    return np.concatenate(list(out), axis=-1)


# Demucs ---------------------------------------------------------------------------------------------------------------


def test_a_demucs_from_a_file_answers_what_the_network_itself_does(tmp_path: Path) -> None:
    network = tiny_demucs()
    save_demucs(network, tmp_path / "a.safetensors")
    separator: Separator = DemucsSeparator.load({"all": tmp_path / "a.safetensors"}, "cpu")
    assert (separator.stems, separator.chunk_samples, separator.placement.device) == (STEMS, 22_050, "cpu")
    mixture = noise(2, 2, separator.chunk_samples)
    estimates = separator.estimate(mixture, STEMS)
    with torch.inference_mode():
        expected = network(torch.tensor(mixture)).numpy()
    assert list(estimates) == list(STEMS)
    for stem, estimate in estimates.items():
        assert estimate.dtype == np.float32
        np.testing.assert_allclose(estimate, expected[:, DEMUCS_ORDER.index(stem)], atol=1e-5)


def test_a_song_comes_out_as_demucs_own_apply_model_has_it(tmp_path: Path) -> None:
    """Except for the last chunk, which demucs pads with zeros and ``split`` fills with the song."""
    save_demucs(network := tiny_demucs(), tmp_path / "a.safetensors")
    separator = DemucsSeparator.load({"all": tmp_path / "a.safetensors"}, "cpu")
    song = noise(2, 2 * SAMPLE_RATE_HZ)
    expected = apply_model(network, torch.tensor(song)[None], shifts=0, overlap=0.25)[0].numpy()
    before_last = 5 * int(0.75 * separator.chunk_samples)
    for stem in ("bass", "vocals"):
        estimate = separated(separator, song, stem)
        reference = expected[DEMUCS_ORDER.index(stem)]
        np.testing.assert_allclose(estimate[:, :before_last], reference[:, :before_last], atol=1e-4)


def test_a_demucs_of_a_quarter_of_the_rate_answers_what_lies_in_it_and_silence_above(tmp_path: Path) -> None:
    network = tiny_demucs(samplerate=11_025, depth=3, nfft=2048)
    save_demucs(network, tmp_path / "low.safetensors")
    separator = DemucsSeparator.load({"all": tmp_path / "low.safetensors"}, "cpu")
    assert separator.chunk_samples == 4 * int(0.5 * 11_025)
    mixture = noise(1, 2, separator.chunk_samples)
    estimate = separator.estimate(mixture, ["bass"])["bass"]
    assert estimate.shape == mixture.shape
    with torch.inference_mode():
        expected = network(resample_frac(torch.tensor(mixture), 4, 1))[:, DEMUCS_ORDER.index("bass")].numpy()
    error = estimate[..., 1000:-1000:4] - expected[..., 250:-250]
    assert np.square(error).sum() < 0.1 * np.square(expected).sum()  # the filter takes a little below half the rate
    spectrum = np.abs(np.fft.rfft(estimate * np.hanning(estimate.shape[-1]))) ** 2
    middle = spectrum.shape[-1] // 4
    assert spectrum[..., middle:].sum() < 1e-5 * spectrum[..., :middle].sum()


def test_of_a_bag_only_the_models_that_are_needed_run(tmp_path: Path) -> None:
    networks = {stem: tiny_demucs(seed) for seed, stem in enumerate(STEMS)}
    for stem, network in networks.items():
        save_demucs(network, tmp_path / f"{stem}.safetensors")
    (tmp_path / "bass.safetensors").unlink()
    files = {stem: tmp_path / f"{stem}.safetensors" for stem in STEMS if stem != "bass"}
    separator = DemucsSeparator.load(files, "cpu")
    assert separator.stems == ("vocals", "drums", "other")
    mixture = noise(1, 2, separator.chunk_samples)
    estimates = separator.estimate(mixture, {"drums", "vocals", "bass"})
    assert list(estimates) == ["vocals", "drums"]
    with torch.inference_mode():
        for stem, estimate in estimates.items():
            expected = networks[stem](torch.tensor(mixture))[:, DEMUCS_ORDER.index(stem)]
            np.testing.assert_allclose(estimate, expected.numpy(), atol=1e-5)


def test_half_stored_weights_are_used_as_float32(tmp_path: Path) -> None:
    network = tiny_demucs()
    save_demucs(network, tmp_path / "half.safetensors", half=True)
    save_demucs(network, tmp_path / "full.safetensors")
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "full.safetensors").stat().st_size
    loaded = load_demucs(tmp_path / "half.safetensors")
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, network.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_equal_networks_are_equal_files(tmp_path: Path) -> None:
    network = tiny_demucs()
    files = [tmp_path / f"{i}.safetensors" for i in range(8)]
    for file in files:
        save_demucs(network, file)
    assert len({file.read_bytes() for file in files}) == 1
    loaded = load_demucs(files[0]).state_dict()
    for key, values in network.state_dict().items():
        torch.testing.assert_close(loaded[key], values)


HTDEMUCS = {"klass": "demucs.htdemucs.HTDemucs", "kwargs": "{}"}


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({"klass": "subprocess.Popen", "args": '[["touch", "owned"]]', "kwargs": "{}"}, "is not a Demucs"),
        (HTDEMUCS | {"args": "[]", "structure": '{"_class": "os.system"}'}, "is not a Demucs"),  # before it is called
        (HTDEMUCS | {"args": "["}, "could not be read"),
        (HTDEMUCS | {"args": json.dumps([DEMUCS_ORDER])}, "could not be read"),
        (None, "is not a Demucs model: it names no class"),
    ],
    ids=["another class", "a structure", "broken JSON", "other tensors", "no metadata"],
)
def test_a_file_that_is_no_demucs_is_refused(tmp_path: Path, metadata: dict[str, str] | None, complaint: str) -> None:
    path = tmp_path / "bad.safetensors"
    save_file({"weight": torch.zeros(1)}, path, metadata)
    with pytest.raises(ModelError, match=rf"bad\.safetensors {complaint}"):
        load_demucs(path)


def test_bytes_that_are_no_safetensors_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"not a model" * 100)
    with pytest.raises(ModelError, match="could not be read"):
        load_demucs(tmp_path / "bad.safetensors")
    with pytest.raises(ModelMissingError):
        load_demucs(tmp_path / "none.safetensors")


@pytest.mark.parametrize("changes", [{"samplerate": 48_000}, {"audio_channels": 1}])
def test_a_demucs_for_other_audio_is_refused(tmp_path: Path, changes: dict[str, int]) -> None:
    save_demucs(tiny_demucs(**changes), tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"stereo at 44\.1 kHz"):
        load_demucs(tmp_path / "a.safetensors")


def test_a_bag_must_know_its_stems_and_share_a_chunk_length(tmp_path: Path) -> None:
    save_demucs(tiny_demucs(), tmp_path / "a.safetensors")
    save_demucs(tiny_demucs(segment=1), tmp_path / "b.safetensors")
    with pytest.raises(ModelError, match="chunk length"):
        DemucsSeparator.load({"bass": tmp_path / "a.safetensors", "drums": tmp_path / "b.safetensors"}, "cpu")
    save_demucs(tiny_demucs(samplerate=22_050, segment=1), tmp_path / "low.safetensors")
    with pytest.raises(ModelError, match="chunk length"):
        DemucsSeparator.load({"bass": tmp_path / "a.safetensors", "drums": tmp_path / "low.safetensors"}, "cpu")
    with pytest.raises(ModelError, match="does not separate kazoo"):
        DemucsSeparator.load({"kazoo": tmp_path / "a.safetensors"}, "cpu")


# MDX-Net --------------------------------------------------------------------------------------------------------------


def low_passed(song: Array, n_fft: int, bins: int) -> Array:
    """The song without the bins that a network doesn't have, in one piece."""
    stft = Stft(n_fft, 1024)
    spectrogram = stft.forward(torch.tensor(song))
    spectrogram[..., bins:, :] = 0
    result: Array = stft.inverse(spectrogram, song.shape[-1]).numpy()
    return result


@pytest.mark.parametrize("batch", [1, 2, "batch"])
@pytest.mark.parametrize("chunks", [1, 3])
def test_an_identity_net_gives_the_mixture_without_its_highest_bins(
    tmp_path: Path, batch: int | str, chunks: int
) -> None:
    files = {"vocals": write_net(tmp_path / "v.onnx", batch=batch)}
    separator: Separator = MdxSeparator.load(files, {"vocals": 6144}, "cpu")
    assert (separator.stems, separator.chunk_samples, separator.margin_samples) == (("vocals",), 1024 * 63, 3072)
    mixture = noise(chunks, 2, separator.chunk_samples)
    estimate = separator.estimate(mixture, STEMS)["vocals"]
    assert estimate.shape == mixture.shape
    np.testing.assert_allclose(estimate, low_passed(mixture, 6144, 2048), atol=1e-4)


def test_no_chunk_border_is_found_in_twenty_seconds_of_noise(tmp_path: Path) -> None:
    """A full band comes out as it went in; a cut one as from one chunk, to 70 dB below the song."""
    n_fft, song = {"vocals": 6144}, noise(2, 20 * SAMPLE_RATE_HZ)
    full = MdxSeparator.load({"vocals": write_net(tmp_path / "full.onnx", frames=256, bins=3073)}, n_fft, "cpu")
    np.testing.assert_allclose(separated(full, song, "vocals"), song, atol=1e-4)
    separator = MdxSeparator.load({"vocals": write_net(tmp_path / "cut.onnx", frames=256)}, n_fft, "cpu")
    difference = separated(separator, song, "vocals") - low_passed(song, 6144, 2048)
    power = np.square(difference).reshape(2, -1, 2100).mean(axis=(0, 2))[4:-4]
    assert power.max() < 1e-7 * np.square(song).mean()


def test_four_nets_with_their_own_n_fft_share_one_grid(tmp_path: Path) -> None:
    gains = dict(zip(STEMS, (0.5, 0.25, 2.0, 1.0), strict=True))
    files = {stem: write_net(tmp_path / f"{stem}.onnx", gains=(gain,)) for stem, gain in gains.items()}
    separator = MdxSeparator.load(files, KUIELAB_N_FFT, "cpu")
    assert separator.stems == STEMS
    assert separator.margin_samples == 8192
    mixture = noise(1, 2, separator.chunk_samples)
    estimates = separator.estimate(mixture, ["bass", "vocals"])
    assert set(estimates) == {"bass", "vocals"}
    for stem, estimate in estimates.items():
        expected = gains[stem] * low_passed(mixture, KUIELAB_N_FFT[stem], 2048)
        np.testing.assert_allclose(estimate, expected, atol=1e-4)


def test_a_net_with_a_shorter_chunk_is_taken_in_several_steps(tmp_path: Path) -> None:
    files = {
        "vocals": write_net(tmp_path / "v.onnx", frames=32, bins=3841, gains=(0.5,)),
        "drums": write_net(tmp_path / "d.onnx", frames=128, bins=2049),
    }
    separator = MdxSeparator.load(files, {"vocals": 7680, "drums": 4096}, "cpu")
    assert separator.chunk_samples == 1024 * 127
    mixture = noise(2, 2, separator.chunk_samples)
    estimates = separator.estimate(mixture, STEMS)
    np.testing.assert_allclose(estimates["vocals"], 0.5 * mixture, atol=1e-4)
    np.testing.assert_allclose(estimates["drums"], mixture, atol=1e-4)


def test_one_net_for_all_stems_tells_its_own_conventions(tmp_path: Path) -> None:
    metadata = {"n_fft": "2048", "stft_hop": "512", "stems": "drums,bass,other,vocals"}
    path = write_net(
        tmp_path / "all.onnx", frames="T", batch="b", bins=1025, gains=(1.0, 2.0, 3.0, 4.0), metadata=metadata
    )
    separator = MdxSeparator.load({"all": path}, {}, "cpu")
    assert (separator.stems, separator.chunk_samples, separator.margin_samples) == (STEMS, 512 * 255, 1024)
    mixture = noise(2, 2, separator.chunk_samples)
    for stem, estimate in separator.estimate(mixture, STEMS).items():
        gain = 1 + DEMUCS_ORDER.index(stem)
        np.testing.assert_allclose(estimate, gain * mixture, atol=1e-4)


@pytest.mark.parametrize(
    ("key", "n_fft", "net"),
    [
        ("vocals", 4096, {"gains": (1.0, 1.0)}),
        ("all", 4096, {"gains": (1.0,)}),
        ("vocals", 2048, {"bins": 2048}),
        ("vocals", None, {}),
    ],
    ids=["two answers for one stem", "one answer for four stems", "more bins than n_fft has", "no n_fft"],
)
def test_an_onnx_of_the_wrong_shape_is_refused(
    tmp_path: Path, key: str, n_fft: int | None, net: dict[str, Any]
) -> None:
    path = write_net(tmp_path / "bad.onnx", **net)
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        MdxSeparator.load({key: path}, {} if n_fft is None else {key: n_fft}, "cpu")


def test_an_onnx_with_other_axes_no_onnx_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    wave = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 2, 44_100])
    out = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 2, 44_100])
    graph = helper.make_graph([helper.make_node("Identity", ["input"], ["output"])], "net", [wave], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "bad.onnx")
    with pytest.raises(ModelError, match="four axes"):
        MdxSeparator.load({"vocals": tmp_path / "bad.onnx"}, {"vocals": 4096}, "cpu")
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="could not be read"):
        MdxSeparator.load({"vocals": tmp_path / "bad.onnx"}, {"vocals": 4096}, "cpu")
    with pytest.raises(ModelMissingError):
        MdxSeparator.load({"vocals": tmp_path / "none.onnx"}, {"vocals": 4096}, "cpu")


def test_who_installed_no_extra_is_told_which_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, MdxSeparator.__module__)
    with pytest.raises(ModelError, match=r'^onnxruntime is not installed: pip install "\.\[cpu\]"'):
        importlib.import_module(MdxSeparator.__module__)


LOAD_AN_ONNX = """
import sys
from pathlib import Path
from spectacles_engine.separators.mdx import MdxSeparator
MdxSeparator.load({"vocals": Path(sys.argv[1])}, {"vocals": 4096}, "cpu")
"""


def test_an_onnx_is_found_below_any_name_in_any_locale(tmp_path: Path) -> None:
    (tmp_path / "für").mkdir()
    path = write_net(tmp_path / "für" / "v.onnx")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", LOAD_AN_ONNX, path], cwd=ROOT, env=os.environ | locale, check=True)


# Devices --------------------------------------------------------------------------------------------------------------


def test_what_runs_a_net_leaves_nothing_behind_that_could_be_sent(tmp_path: Path) -> None:
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    own = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    given = {name: os.environ[name] for name in os.environ.keys() - {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}}
    net = write_net(tmp_path / "net.onnx")
    subprocess.run([sys.executable, "-c", LOAD_AN_ONNX, net], cwd=ROOT, env=given | own, check=True)
    assert [path for name in ("home", "tmp") for path in (tmp_path / name).iterdir()] == []


def gpu_with_room_for(chunks: int, tried: list[tuple[int, str]], error: Exception) -> Any:
    def job(part: Array, device: str) -> dict[str, Array]:
        tried.append((len(part), device))
        if device == "cuda" and len(part) > chunks:
            raise error
        return {"vocals": 2 * part}

    return job


@pytest.fixture(params=["torch", "onnxruntime", "cublas"])
def out_of_memory(request: pytest.FixtureRequest) -> Exception:
    errors = {
        "torch": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        "onnxruntime": RuntimeError("Conv node: BFCArena: Failed to allocate memory for requested buffer of size 8"),
        "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    }
    return errors[request.param]


def test_out_of_memory_halves_the_batch(out_of_memory: Exception) -> None:
    placement, mixture = Placement("cuda", 8), noise(8, 2, 10)
    tried: list[tuple[int, str]] = []
    answer = placement.run(gpu_with_room_for(2, tried, out_of_memory), mixture)
    np.testing.assert_array_equal(answer["vocals"], 2 * mixture)
    assert tried == [(8, "cuda"), (4, "cuda"), *[(2, "cuda")] * 4]
    assert (placement.device, placement.batch) == ("cuda", 2)
    assert placement.warnings == ["the GPU's memory ran out: chunks are separated 2 at once"]


def test_a_gpu_without_room_for_one_chunk_is_left_for_the_cpu(out_of_memory: Exception) -> None:
    placement, mixture = Placement("cuda", 2), noise(3, 2, 10)
    tried: list[tuple[int, str]] = []
    answer = placement.run(gpu_with_room_for(0, tried, out_of_memory), mixture)
    np.testing.assert_array_equal(answer["vocals"], 2 * mixture)
    assert tried == [(2, "cuda"), (1, "cuda"), *[(1, "cpu")] * 3]
    assert placement.warnings == ["the GPU's memory ran out: chunks are separated on the CPU"]
    placement.renew()
    assert (placement.device, placement.batch, placement.warnings) == ("cuda", 2, [])


def test_a_gpu_that_somebody_else_has_filled_is_left_for_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its networks do not even fit: there is an engine all the same."""
    save_demucs(tiny_demucs(), tmp_path / "a.safetensors")
    mixture = noise(1, 2, DemucsSeparator.load({"all": tmp_path / "a.safetensors"}, "cpu").chunk_samples)
    move = torch.nn.Module.to

    def to(module: torch.nn.Module, device: Any) -> torch.nn.Module:
        if device == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return move(module, device)

    monkeypatch.setattr(torch.nn.Module, "to", to)
    separator = DemucsSeparator.load({"all": tmp_path / "a.safetensors"}, "cuda")
    assert set(separator.estimate(mixture, STEMS)) == set(STEMS)
    assert separator.placement.device == "cpu"


class GpuSession:
    """An ONNX session that says it is on a GPU, and computes on the CPU; ``is_full``: nothing more fits in there."""

    real, is_full, on = onnxruntime.InferenceSession, False, "cuda"

    def __init__(self, path: str, options: Any, providers: list[tuple[str, dict[str, str]]]) -> None:
        self._providers = [name for name, _ in providers]
        self._session = self.real(path, options, providers=["CPUExecutionProvider"])
        self.run(None, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return self._providers

    def run(self, names: Any, inputs: Any, options: Any = None) -> Any:
        GpuSession.on = "cuda" if "CUDAExecutionProvider" in self._providers else "cpu"
        if GpuSession.is_full and GpuSession.on == "cuda":
            raise RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 8")
        return self._session.run(names, inputs) if inputs else None


def test_an_mdx_net_takes_a_gpu_when_it_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "InferenceSession", GpuSession)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(GpuSession, "is_full", True)  # already when it is loaded
    separator = MdxSeparator.load({"vocals": write_net(tmp_path / "v.onnx")}, {"vocals": 4096}, "cuda")
    song = noise(1, 2, separator.chunk_samples)
    on_cpu = separator.estimate(song, STEMS)["vocals"]
    assert (separator.placement.device, GpuSession.on) == ("cpu", "cpu")
    GpuSession.is_full = False
    separator.placement.renew()
    np.testing.assert_array_equal(separator.estimate(song, STEMS)["vocals"], on_cpu)
    assert (separator.placement.device, GpuSession.on) == ("cuda", "cuda")
    assert separator.placement.warnings == []


@pytest.mark.parametrize("has_arena", [True, False])
def test_a_net_gives_the_memory_of_a_gpu_back_after_each_run_if_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_arena: bool
) -> None:
    gave_back: list[str] = []

    class Session(GpuSession):
        def run(self, names: Any, inputs: Any, options: Any = None) -> Any:
            if inputs and "CUDAExecutionProvider" in self._providers:
                try:
                    gave_back.append(options.get_run_config_entry("memory.enable_memory_arena_shrinkage"))
                except RuntimeError:  # it was not set
                    gave_back.append("")
                if gave_back[-1] and not has_arena:
                    raise RuntimeError("Did not find an arena based allocator registered for device-id combination")
            return super().run(names, inputs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    separator = MdxSeparator.load({"vocals": write_net(tmp_path / "v.onnx")}, {"vocals": 4096}, "cuda")
    song = noise(1, 2, separator.chunk_samples)
    for _ in range(2):
        assert separator.estimate(song, STEMS)["vocals"].any()
    assert gave_back == (["gpu:0", "gpu:0"] if has_arena else ["gpu:0", "", ""])


def test_what_ran_out_of_memory_is_freed_before_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tensor:
        """Stands for what a failed run held."""

    held: list[weakref.ref[Tensor]] = []
    freed: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(held[-1]() is None))

    def job(part: Array, device: str) -> dict[str, Array]:
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        if device == "cuda":
            raise torch.OutOfMemoryError("out of memory")
        return {"vocals": part}

    Placement("cuda", 1).run(job, noise(1, 2, 10))
    assert freed == [True]


def test_gpus_that_torch_counts_but_cannot_use_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that is too old: there would be an engine on the CPU for each of them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [gpus(device) for device in ("auto", "cpu")] == [0, 0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: FakeGpuTensor())
    assert [gpus(device) for device in ("auto", "cuda", "cpu")] == [4, 4, 0]
    monkeypatch.setattr(
        FakeGpuTensor, "trouble", "CUDA error: no kernel image is available for execution on the device"
    )
    assert [gpus(device) for device in ("auto", "cpu")] == [0, 0]
    with pytest.raises(ModelError, match=r"the GPU of this machine is too old for this PyTorch: set engine\.device"):
        gpus("cuda")
    # it may be free when it is needed
    monkeypatch.setattr(FakeGpuTensor, "trouble", "CUDA error: out of memory")
    assert gpus("auto") == 4


class FakeGpuTensor:
    """What torch computes with on a GPU. ``trouble``: why it cannot."""

    trouble = ""

    def add(self, number: int) -> FakeGpuTensor:
        if self.trouble:
            raise RuntimeError(self.trouble)
        return self

    def cpu(self) -> None: ...


def test_any_other_failure_and_one_on_the_cpu_are_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        Placement("cuda", 2).run(gpu_with_room_for(0, [], ZeroDivisionError()), noise(1, 2, 10))

    def job(part: Array, device: str) -> dict[str, Array]:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Placement("cpu", 2).run(job, noise(1, 2, 10))


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_auto_means_cpu_and_cuda_is_a_clear_error(tmp_path: Path) -> None:
    assert pick_device("auto") == pick_device("cpu") == "cpu"
    with pytest.raises(ModelError, match="no CUDA device"):
        pick_device("cuda")
    separator = MdxSeparator.load({"vocals": write_net(tmp_path / "v.onnx")}, {"vocals": 4096}, "cuda")
    assert (separator.placement.device, separator.placement.batch) == ("cpu", 1)
    assert separator.placement.warnings == ["MDX-Net runs on the CPU: onnxruntime found no CUDA here"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_half_precision_on_a_gpu_stays_close_to_float32_on_the_cpu(tmp_path: Path) -> None:
    save_demucs(tiny_demucs(), tmp_path / "a.safetensors")
    on_cpu = DemucsSeparator.load({"all": tmp_path / "a.safetensors"}, "cpu")
    on_gpu = DemucsSeparator.load({"all": tmp_path / "a.safetensors"}, pick_device("auto"))
    mixture = noise(on_gpu.placement.batch, 2, on_cpu.chunk_samples)
    expected, answer = on_cpu.estimate(mixture, STEMS), on_gpu.estimate(mixture, STEMS)
    for stem in STEMS:
        assert np.linalg.norm(answer[stem] - expected[stem]) < 0.03 * np.linalg.norm(expected[stem])  # H100: 0.018
