// Files that are dropped or chosen: read from folders, and sent in batches.

const ARCHIVE = /\.(zip|tar|tgz|tbz2|txz|tzst|tar\.(gz|bz2|xz|zst))$/i;
// Images of one request: few enough to show progress, and to fit into the server's limit.
const BATCH = 16;
const BATCH_BYTES = 24e6;

export const isArchive = (file) => ARCHIVE.test(file.name);

export const batchesOf = (files) => {
  const batches = [[]];
  let bytes = 0;
  for (const file of files) {
    if (batches.at(-1).length === BATCH || (bytes + file.size > BATCH_BYTES && batches.at(-1).length)) {
      batches.push([]);
      bytes = 0;
    }
    batches.at(-1).push(file);
    bytes += file.size;
  }
  return batches;
};

/* The files of a drop with the names of the folders that they are in. */
const readEntry = async (entry, folders = []) => {
  if (entry.isFile) {
    return [{ file: await new Promise((done, fail) => entry.file(done, fail)), folders }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // At most 100 entries come at once.
    const entries = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!entries.length) return found;
    for (const one of entries) {
      if (!one.name.startsWith(".") && one.name !== "__MACOSX") found.push(...await readEntry(one, [...folders, entry.name]));
    }
  }
};
export const filesOf = async (transfer) => {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, folders: [] }));
  return (await Promise.all(entries.map((entry) => readEntry(entry)))).flat();
};
