// Drives the OpenAI SDK for Node against a gateway and reports each case on a
// line of JSON: {"name": …, "error": null | "what was seen"}. The Go test that
// starts it turns the lines into subtests.
//
// Environment: BASE_URL, TOKEN, and EXPECT with the texts and models that the
// upstream's script uses.
import assert from "node:assert/strict";
import OpenAI from "openai";

const expect = JSON.parse(process.env.EXPECT);
const user = (content) => [{ role: "user", content }];

// connect makes a client that counts its requests.
function connect(options = {}) {
  const seen = { requests: 0 };
  const client = new OpenAI({
    baseURL: process.env.BASE_URL,
    apiKey: process.env.TOKEN,
    fetch: (url, init) => {
      seen.requests++;
      return fetch(url, init);
    },
    ...options,
  });
  return { client, seen };
}

// refused runs a call that must fail, and returns the error.
async function refused(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error("the call succeeded");
}

const chat = (client, model) => client.chat.completions.create({ model, messages: user("hi") });

const cases = {
  async chat() {
    const { client } = connect();
    const { data, response } = await chat(client, expect.model).withResponse();
    assert.equal(data.choices[0].message.content, expect.chat);
    assert.equal(data.usage.total_tokens, 16);
    assert.ok(response.headers.get("x-request-id"), "no x-request-id");
  },

  async "chat stream with usage"() {
    const { client } = connect();
    const stream = await client.chat.completions.create({
      model: expect.model, messages: user("hi"), stream: true, stream_options: { include_usage: true },
    });
    let text = "", usage = null, finish = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, expect.chat);
    assert.equal(finish, "stop");
    assert.equal(usage?.total_tokens, 16);
  },

  async "chat stream without usage asked"() {
    const { client } = connect();
    const stream = await client.chat.completions.create({ model: expect.model, messages: user("hi"), stream: true });
    let text = "";
    for await (const chunk of stream) {
      assert.equal(chunk.choices.length, 1, "a chunk that was not asked for");
      text += chunk.choices[0].delta.content ?? "";
    }
    assert.equal(text, expect.chat);
  },

  async "chat stream helper"() {
    const { client } = connect();
    const final = await client.chat.completions.stream({ model: expect.model, messages: user("hi") }).finalChatCompletion();
    assert.equal(final.choices[0].message.content, expect.chat);
  },

  async responses() {
    const { client } = connect();
    const r = await client.responses.create({ model: expect.model, input: "hi" });
    assert.equal(r.output_text, expect.responses);
    assert.equal(r.usage.input_tokens_details.cached_tokens, 4);
  },

  async "responses stream"() {
    const { client } = connect();
    const kinds = [];
    let text = "";
    for await (const event of await client.responses.create({ model: expect.model, input: "hi", stream: true })) {
      kinds.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    assert.equal(kinds[0], "response.created");
    assert.equal(kinds.at(-1), "response.completed");
    assert.equal(text, expect.responses);
  },

  async "responses stream helper"() {
    const { client } = connect();
    const final = await client.responses.stream({ model: expect.model, input: "hi" }).finalResponse();
    assert.equal(final.output_text, expect.responses);
  },

  async embeddings() {
    const { client } = connect();
    const r = await client.embeddings.create({ model: expect.embedding, input: "hi" });
    assert.deepEqual(Array.from(r.data[0].embedding), [1, -2]);
  },

  async "models list"() {
    const { client } = connect();
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.ok(ids.includes(expect.model), `the list is ${ids}`);
    assert.equal((await client.models.retrieve(expect.model)).id, expect.model);
  },

  async "400 is the upstream's word"() {
    const { client, seen } = connect();
    const e = await refused(chat(client, expect.badRequest));
    assert.ok(e instanceof OpenAI.BadRequestError, `${e}`);
    assert.match(e.message, /temperature must be 1/);
    assert.equal(seen.requests, 1);
    assert.ok(e.requestID, "no request id");
  },

  async "400 for a body that is not JSON"() {
    const { client, seen } = connect();
    const e = await refused(client.post("/chat/completions", { body: "{not json", headers: { "content-type": "application/json" } }));
    assert.ok(e instanceof OpenAI.BadRequestError, `${e}`);
    assert.equal(seen.requests, 1);
  },

  async "401 for a wrong token"() {
    const { client, seen } = connect({ apiKey: "wrong" });
    const e = await refused(chat(client, expect.model));
    assert.ok(e instanceof OpenAI.AuthenticationError, `${e}`);
    assert.equal(e.code, "invalid_api_key");
    assert.equal(seen.requests, 1);
  },

  async "404 for an unknown model"() {
    const { client, seen } = connect();
    const e = await refused(chat(client, expect.unknown));
    assert.ok(e instanceof OpenAI.NotFoundError, `${e}`);
    assert.equal(e.code, "model_not_found");
    assert.equal(seen.requests, 1);
  },

  async "404 for an unknown path"() {
    const { client, seen } = connect();
    const e = await refused(client.get("/no/such/path"));
    assert.ok(e instanceof OpenAI.NotFoundError, `${e}`);
    assert.equal(seen.requests, 1);
  },

  async "429 that cannot be waited for is asked once"() {
    const { client, seen } = connect();
    const e = await refused(chat(client, expect.limited));
    assert.ok(e instanceof OpenAI.RateLimitError, `${e}`);
    assert.equal(e.headers.get("x-should-retry"), "false");
    assert.equal(e.headers.get("retry-after"), null);
    assert.equal(seen.requests, 1);
  },

  async "5xx after the SDK's own retries"() {
    const { client, seen } = connect();
    const e = await refused(chat(client, expect.unreachable));
    assert.ok(e instanceof OpenAI.InternalServerError, `${e}`);
    assert.ok(e.status >= 502 && e.status <= 504, `the status is ${e.status}`);
    assert.equal(seen.requests, 3);
  },
};

for (const [name, run] of Object.entries(cases)) {
  let error = null;
  try {
    await run();
  } catch (e) {
    error = e?.stack ?? String(e);
  }
  console.log(JSON.stringify({ name, error }));
}
