"use strict";
// What the page does besides charts: unpacks bulky data when it is asked for.
const unpack = async (name) => {
  const packed = document.getElementById(`blob-${name}`);
  if (!packed) return null;
  const bytes = Uint8Array.from(atob(packed.textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
};
