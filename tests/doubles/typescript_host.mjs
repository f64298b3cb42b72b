// A host that is built on the TypeScript SDK: given the folder of the npm packages, the SDK's major version, the calls
// as JSON (pairs of a tool and its arguments), and the server's command line. It prints what each call came to as JSON.
import { createRequire } from "node:module";

const [folder, version, calls, command, ...args] = process.argv.slice(2);
const load = createRequire(`${folder}/package.json`);
const { Client } = load(
  version === "1" ? "@modelcontextprotocol/sdk/client/index.js" : "@modelcontextprotocol/client"
);
const { StdioClientTransport } = load(
  version === "1" ? "@modelcontextprotocol/sdk/client/stdio.js" : "@modelcontextprotocol/client/stdio"
);

const client = new Client({ name: "typescript-host", version: "1" });
await client.connect(new StdioClientTransport({ command, args, stderr: "inherit", env: process.env }));
await client.listTools(); // the SDK knows the output schemas from here
const seen = [];
for (const [name, given] of JSON.parse(calls)) {
  try {
    seen.push(await client.callTool({ name, arguments: given }));
  } catch (error) {
    seen.push({ thrown: String(error) });
  }
}
await client.close();
process.stdout.write(JSON.stringify(seen));
