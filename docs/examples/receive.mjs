// Receives Tidegate's webhooks: node receive.mjs PORT, with the secret in HOOK_SECRET.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const TOLERANCE = 300; // seconds
const key = Buffer.from(process.env.HOOK_SECRET.replace(/^whsec_/, ""), "base64");
const seen = new Set(); // in earnest: a table with a unique key

// Whether one of the signatures is ours, of these very bytes, and of the last minutes.
function verified(headers, body) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp || NaN)) <= TOLERANCE)) return false;
  const digest = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64");
  const wanted = Buffer.from(`v1,${digest}`);
  return (headers["webhook-signature"] ?? "").split(" ").some((one) => {
    const given = Buffer.from(one);
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  });
}

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (!verified(request.headers, body)) return response.writeHead(401).end();
  const event = JSON.parse(body);
  if (!seen.has(event.id)) { // the same event may come twice
    seen.add(event.id);
    console.log(event.type, event.source);
  }
  response.writeHead(204).end();
}).listen(Number(process.argv[2]), "127.0.0.1");
