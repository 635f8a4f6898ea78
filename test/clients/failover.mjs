// Has the OpenAI SDK for Node take one turn a case, each with a client of its own
// and the SDK's own retries, and reports what was seen on a line of JSON:
// {"name", "text", "id", "requests", "error"}. The Go test that starts it judges.
//
// Environment: BASE_URL, MODEL, and CASES, a list of {"name", "form", "token"}.
import OpenAI from "openai";

const model = process.env.MODEL;
const messages = [{ role: "user", content: "hi" }];

// Every way to ask returns the whole text and the ids of the answer, each once.
const forms = {
  async chat(client) {
    const { id, choices } = await client.chat.completions.create({ model, messages });
    return { text: choices[0].message.content, ids: [id] };
  },

  async "chat stream"(client) {
    const ids = [];
    let text = "", finish = null;
    for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
      ids.push(chunk.id);
      text += chunk.choices[0]?.delta?.content ?? "";
      finish = chunk.choices[0]?.finish_reason ?? finish;
    }
    if (finish !== "stop") throw new Error(`the stream finished with ${finish}`);
    return { text, ids };
  },

  async responses(client) {
    const { id, output_text } = await client.responses.create({ model, input: "hi" });
    return { text: output_text, ids: [id] };
  },

  async "responses stream"(client) {
    const ids = [], kinds = [];
    let text = "";
    for await (const event of await client.responses.create({ model, input: "hi", stream: true })) {
      kinds.push(event.type);
      if (event.response) ids.push(event.response.id);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    const begun = kinds.filter((kind) => kind === "response.created").length;
    if (begun !== 1 || kinds[0] !== "response.created" || kinds.at(-1) !== "response.completed") throw new Error(`the events are ${kinds}`);
    return { text, ids };
  },
};

async function run({ name, form, token }) {
  const seen = { name, text: "", id: "", requests: 0, error: "" };
  const client = new OpenAI({
    baseURL: process.env.BASE_URL,
    apiKey: token,
    fetch: (url, init) => {
      seen.requests++;
      return fetch(url, init);
    },
  });
  try {
    const { text, ids } = await forms[form](client);
    seen.text = text;
    seen.id = [...new Set(ids)].join(" ");
  } catch (error) {
    seen.error = error?.stack ?? String(error);
  }
  console.log(JSON.stringify(seen));
}

// A few at a time: some wait for a time-out.
const cases = JSON.parse(process.env.CASES);
await Promise.all(Array.from({ length: 3 }, async () => {
  for (let next = cases.shift(); next; next = cases.shift()) await run(next);
}));
