// PhishCNN in JavaScript: the C library (phishcnn.h) as a WebAssembly module. Offsets below are
// those of the header's structures with 32-bit pointers.

const PAGE = 65536;
const MODEL_SIZE = 512 * 4; // phishcnn_model
const URL_SIZE = 65536; // as the library: no longer URL gets a score
const INFO_BACKEND = 32; // phishcnn_info.backend, a phishcnn_str
const utf8 = { encode: new TextEncoder(), decode: new TextDecoder() };

/**
 * Loads a model and gives what scores URLs with it.
 *
 * @param {BufferSource} module the bytes of phishcnn.wasm
 * @param {Uint8Array} [file] the bytes of a `.safetensors` model; without, the embedded one
 * @returns an object with `backend` (`simd128` or `portable`) and `score(url)`
 * @throws {Error} with the library's number as `code`
 */
export async function load(module, file) {
  const { exports: c } = (await WebAssembly.instantiate(module, {})).instance;

  // Nothing in the library allocates: what it needs lies behind its own data, once and for all.
  let end = c.__heap_base.value;
  const reserve = (size) => {
    const start = (end + 15) & ~15;
    end = start + size;
    const missing = end - c.memory.buffer.byteLength;
    if (missing > 0) c.memory.grow(Math.ceil(missing / PAGE));
    return start;
  };
  const bytes = (start, size) => new Uint8Array(c.memory.buffer, start, size);
  const text = (start) => {
    const rest = bytes(start, c.memory.buffer.byteLength - start);
    return utf8.decode.decode(rest.subarray(0, rest.indexOf(0)));
  };
  const check = (status) => {
    if (status !== 0) throw Object.assign(new Error(text(c.phishcnn_status_text(status))), { code: status });
  };

  const model = reserve(MODEL_SIZE);
  if (file) {
    const place = reserve(file.length);
    bytes(place, file.length).set(file);
    check(c.phishcnn_model_load(model, place, file.length, 0, 0));
  } else {
    check(c.phishcnn_model_load_embedded(model));
  }
  const scratchSize = c.phishcnn_model_scratch_size(model);
  const [scratch, input, output] = [reserve(scratchSize), reserve(URL_SIZE), reserve(256)];
  check(c.phishcnn_model_info(model, output));
  const info = new DataView(c.memory.buffer, output);
  const name = info.getUint32(INFO_BACKEND, true);
  const backend = utf8.decode.decode(bytes(name, info.getUint32(INFO_BACKEND + 4, true)));

  return {
    backend,

    /**
     * @param {string | Uint8Array} url
     * @returns {{verdict: string, probability: number, logit: number, truncated: boolean}}
     * @throws {Error} with the library's number as `code`: an empty or too long URL
     */
    score(url) {
      const given = typeof url === "string" ? utf8.encode.encode(url) : url;
      // (What is too long is refused by its size, unread.)
      if (given.length <= URL_SIZE) bytes(input, given.length).set(given);
      check(c.phishcnn_score(model, input, given.length, scratch, scratchSize, output));
      const result = new DataView(c.memory.buffer, output);
      return {
        verdict: text(c.phishcnn_verdict_text(result.getInt32(4, true))),
        probability: result.getFloat32(12, true),
        logit: result.getFloat32(8, true),
        truncated: result.getUint8(16) !== 0,
      };
    },
  };
}
