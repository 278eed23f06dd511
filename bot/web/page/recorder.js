// Records with the browser's own recorder; music, so nothing that cleans up speech.

/** Whether this browser lets this page record (it wants https or localhost). */
export const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);

/**
 * Starts; rejects if the person says no. Resolves with {stop(), recorded}: `recorded` is a promise of the file, kept
 * also when the microphone goes away.
 */
export async function record() {
  const session = navigator.audioSession ?? {}; // Safari's
  const before = session.type;
  session.type = "play-and-record"; // it gives a page that only plays no microphone
  let stream, recorder;
  const end = () => {
    stream?.getTracks().forEach((track) => track.stop());
    session.type = before;
  };
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
    recorder = new MediaRecorder(stream, { audioBitsPerSecond: 192000 });
    recorder.start(1000);
  } catch (refused) {
    end();
    throw refused;
  }
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  const recorded = new Promise((resolve) => {
    recorder.onstop = () => {
      end();
      const type = recorder.mimeType.split(";")[0];
      resolve({ blob: new Blob(parts, { type }), suffix: type.includes("mp4") ? "m4a" : type.split("/")[1] });
    };
  });
  return { stop: () => recorder.stop(), recorded };
}
