// SPDX-License-Identifier: Apache-2.0
// serve.mjs - a small LLM server on node-llama-cpp: what a user of that library would write.
//
// usage: node serve.mjs PACKAGES MODEL [--context N] [--sequences N]
//
// PACKAGES is the folder "node" that tests/engines/fetch has made. Listens on a free port of the loopback interface
// and prints "listening PORT". POST with a JSON body:
//   /load        loads the model
//   /context     makes the context (the KV cache)
//   /completion  {"prompt": tokens or a number of them, "n_predict": N, "sequence": 0} -> {"tokens": [...]}
//   /clear       forgets the history of a sequence  {"sequence": 0}
//   /erase       {"from": A, "to": B, "sequence": 0}: drops tokens in the middle, the rest moves up
//   /dispose     frees context and model; /exit ends the server.
import http from "node:http";
import path from "node:path";
import {pathToFileURL} from "node:url";

const [packages, modelPath, ...rest] = process.argv.slice(2);
const option = (name, fallback) => {
	const at = rest.indexOf("--" + name);
	return at < 0 ? fallback : Number(rest[at + 1]);
};
const entry = path.join(packages, "node_modules/node-llama-cpp/dist/index.js");
const {getLlama} = await import(pathToFileURL(entry));
const llama = await getLlama({gpu: "cuda", build: "never", skipDownload: true, logLevel: "error"});
if (llama.gpu !== "cuda") {
	console.error(`no CUDA backend, gpu is ${llama.gpu}`);
	process.exit(1);
}

const contextSize = option("context", 131072);
const sequences = option("sequences", 1);
let model, context, slots;

const actions = {
	async load() {
		model = await llama.loadModel({modelPath, gpuLayers: "max"});
	},
	async context() {
		context = await model.createContext({contextSize, sequences, flashAttention: true});
		slots = Array.from({length: sequences}, () => context.getSequence());
	},
	async completion({prompt, n_predict: limit, sequence = 0}) {
		const tokens = Array.isArray(prompt)
			? prompt : Array.from({length: prompt}, (_, i) => (i * 7 + sequence) % 26);
		const out = [];
		for await (const token of slots[sequence].evaluate(tokens, {temperature: 0})) {
			out.push(token);
			if (out.length >= limit)
				break;
		}
		return {tokens: out};
	},
	async clear({sequence = 0}) {
		await slots[sequence].clearHistory();
	},
	async erase({from, to, sequence = 0}) {
		await slots[sequence].eraseContextTokenRanges([{start: from, end: to}]);
	},
	async dispose() {
		await context?.dispose();
		await model?.dispose();
		context = model = undefined;
	},
	async exit() {
		setImmediate(async () => {
			server.close();
			await llama.dispose();
			process.exit(0);
		});
	}
};

async function body(request) {
	let text = "";
	for await (const part of request)
		text += part;
	return text ? JSON.parse(text) : {};
}

const server = http.createServer(async (request, response) => {
	let status = 200, answer;
	try {
		const action = actions[request.url.slice(1)];
		if (request.method !== "POST" || !action)
			throw new Error("unknown request");
		answer = await action(await body(request)) ?? {};
	} catch (error) {
		status = 500;
		answer = {error: String(error?.message ?? error)};
	}
	response.writeHead(status, {"content-type": "application/json", "connection": "close"});
	response.end(JSON.stringify(answer));
});
server.listen(0, "127.0.0.1", () => console.log("listening", server.address().port));
