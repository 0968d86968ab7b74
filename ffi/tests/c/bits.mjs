// As bits.c: node bits.mjs MODULE MODEL
import { readFileSync } from "node:fs";
import { load } from "../../examples/wasm/phishcnn.mjs";

const [module, file] = process.argv.slice(2);
const model = await load(readFileSync(module), readFileSync(file));
const lines = [model.backend];
const bits = new DataView(new ArrayBuffer(4));
const urls = readFileSync("urls");
for (let start = 0, end; (end = urls.indexOf(10, start)) >= 0; start = end + 1) {
  try {
    bits.setFloat32(0, model.score(urls.subarray(start, end)).logit);
    lines.push(bits.getUint32(0).toString(16).padStart(8, "0"));
  } catch (error) {
    lines.push(`error ${error.code}`);
  }
}
process.stdout.write(lines.join("\n") + "\n");
