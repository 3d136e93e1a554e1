// From a file to pixels as `resnet-cli predict` reads them: upright, RGB, transparency on white, no color management.

// Rows per strip: phones limit the area of a canvas.
const STRIP_PIXELS = 4_000_000;

/* uint8 RGB, row by row. */
export const decode = async (file, mostPixels) => {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none",
    });
  } catch {
    throw new Error("this browser cannot read the file; JPEG, PNG and WebP images can be read everywhere");
  }
  const { width, height } = bitmap;
  if (width * height > mostPixels) {
    bitmap.close();
    throw new Error(`${width} x ${height} pixels, more than the limit of ${mostPixels.toLocaleString("en")}`);
  }
  const pixels = new Uint8Array(3 * width * height);
  const rows = Math.min(height, Math.max(1, Math.floor(STRIP_PIXELS / width)));
  // In software: a graphics card may round colors in another way.
  const strip = new OffscreenCanvas(width, rows).getContext("2d", { alpha: false, willReadFrequently: true });
  strip.imageSmoothingEnabled = false;
  let to = 0;
  for (let top = 0; top < height; top += rows) {
    strip.fillStyle = "white";
    strip.fillRect(0, 0, width, rows);
    strip.drawImage(bitmap, 0, -top);
    const { data } = strip.getImageData(0, 0, width, Math.min(rows, height - top));
    for (let from = 0; from < data.length; from += 4) {
      pixels[to] = data[from];
      pixels[to + 1] = data[from + 1];
      pixels[to + 2] = data[from + 2];
      to += 3;
    }
  }
  bitmap.close();
  return { pixels, width, height };
};
