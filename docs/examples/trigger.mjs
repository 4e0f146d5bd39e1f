// Ask for a sync: node trigger.mjs CONNECTION [SCOPE]
// Only Node itself is needed. With the package `redis` it is one line:
//   await client.xAdd("tidegate:triggers", "*", { connection, scope });
import { connect } from "node:net";

const [connection, scope = "incremental"] = process.argv.slice(2);
const { hostname, port } = new URL(process.env.TIDEGATE_REDIS_URL);
const words = ["XADD", "tidegate:triggers", "*", "connection", connection, "scope", scope];
const command = `*${words.length}\r\n` + words.map((w) => `$${Buffer.byteLength(w)}\r\n${w}\r\n`).join("");

const socket = connect(Number(port || 6379), hostname, () => socket.write(command));
socket.once("data", (answer) => {
  console.log(answer.toString().trim());
  socket.end();
  process.exitCode = answer[0] === "$".charCodeAt(0) ? 0 : 1;
});
