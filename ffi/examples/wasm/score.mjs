// Scores URLs: node score.mjs ../../../target/c/phishcnn-simd.wasm URL…
import { readFileSync } from "node:fs";
import { load } from "./phishcnn.mjs";

const [module, ...urls] = process.argv.slice(2);
const model = await load(readFileSync(module));
for (const url of urls) {
  const { verdict, probability } = model.score(url);
  console.log(`${verdict} ${probability.toFixed(4)} ${url}`);
}
