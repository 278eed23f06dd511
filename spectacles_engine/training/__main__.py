"""``python -m spectacles_engine.training``: the commands of ``commands.py``, or which packages they lack."""

import signal

from spectacles_engine.errors import ModelError

# imports take seconds: Ctrl-C ends them at once, where it would be a traceback, or nothing if a package swallows it
if (on_ctrl_c := signal.getsignal(signal.SIGINT)) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    from spectacles_engine.training.commands import main
except (ModuleNotFoundError, ModelError) as error:
    # a model says itself that onnxruntime, the one package of `cpu` and `gpu`, is lacking
    name = getattr(error.__cause__ or error, "name", error)
    extras = "pip install '.[cpu,train]', or '.[gpu,train]' for an NVIDIA GPU"
    raise SystemExit(f"training needs the package {name}: {extras}") from None
signal.signal(signal.SIGINT, on_ctrl_c)

if __name__ == "__main__":
    main()
