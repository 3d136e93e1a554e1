// Draws where the network looked, as resnet_cli/model/heatmap.py does.

// Weights of red, green and blue in the luma. Source: ITU-R BT.601.
const BRIGHTNESS = [0.299, 0.587, 0.114];

/* Heat [rows x columns] at each of `size` x `size` places, linear between the centers of the cells' receptive fields. */
const enlarge = (cells, rows, columns, size, { stride, offset }) => {
  const along = (num) => Array.from({ length: size }, (_, place) => {
    const at = Math.max(0, (offset + place + 0.5) / stride - 0.5);
    const low = Math.min(num - 1, Math.floor(at));
    return { low, high: Math.min(num - 1, low + 1), part: at - Math.floor(at) };
  });
  const [down, across] = [along(rows), along(columns)];
  const large = new Float32Array(size * size);
  let to = 0;
  for (const y of down) {
    for (const x of across) {
      const mix = (row) => cells[row * columns + x.low] * (1 - x.part) + cells[row * columns + x.high] * x.part;
      large[to++] = mix(y.low) * (1 - y.part) + mix(y.high) * y.part;
    }
  }
  return large;
};

/* The square that the network saw, lighter where it supports the most probable class, as a JPEG. */
export const explain = async ({ images, heat }, { mean, std }, look) => {
  const [size, [, rows, columns]] = [images.dims[3], heat.dims];
  const large = enlarge(heat.data, rows, columns, size, look);
  const greatest = large.reduce((most, one) => Math.max(most, one), 1e-30);
  const canvas = new OffscreenCanvas(size, size);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const drawn = context.createImageData(size, size);
  const area = size * size;
  for (let at = 0; at < area; at += 1) {
    const share = Math.min(1, Math.max(0, large[at] / greatest));
    const place = share * (look.colors.length - 1);
    const below = Math.min(Math.floor(place), look.colors.length - 2);
    const part = place - below;
    const colors = mean.map((middle, channel) => 255 * (images.data[channel * area + at] * std[channel] + middle));
    const gray = colors.reduce((sum, color, channel) => sum + BRIGHTNESS[channel] * color, 0);
    const covered = look.covered * share;
    for (const [channel, color] of colors.entries()) {
      const glow = look.colors[below][channel] * (1 - part) + look.colors[below + 1][channel] * part;
      drawn.data[4 * at + channel] = (gray + look.kept * (color - gray)) * (1 - covered) + glow * covered;
    }
    drawn.data[4 * at + 3] = 255;
  }
  context.putImageData(drawn, 0, 0);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
};
