// The device's camera in the page's dialog. Used by the page of `serve` and by `studio`.

import { make } from "./answers.js";

/* Gives photos to `onPhoto`; `fallback` is called where the page may not use a camera. */
export const setUpCamera = ({ dialog, shoot, close, onPhoto, facingMode = "environment" }) => {
  const video = dialog.querySelector("video");
  const stop = () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  };
  const open = async (fallback) => {
    try {
      // Only over https and on this machine itself; elsewhere a phone's own camera is asked.
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode } });
    } catch {
      fallback();
      return;
    }
    // Before the first frame there is nothing to take.
    shoot.disabled = true;
    dialog.showModal();
    try {
      await video.play();
    } catch {
      return;  // It was closed before.
    }
    shoot.disabled = false;
  };
  const takePhoto = () => new Promise((done) => {
    const canvas = make("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => done(new File([blob], "photo.jpg", { type: "image/jpeg" })), "image/jpeg", 0.92);
  });
  shoot.addEventListener("click", async () => onPhoto(await takePhoto()));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
  return { open, takePhoto, dialog };
};
