// Drives the OpenAI SDK for Node against a gateway whose only channel is a ChatGPT
// account, and reports each case on a line of JSON: {"name": …, "error": null |
// "what was seen"}. The Go test that starts it turns the lines into subtests.
//
// Environment: BASE_URL, TOKEN, and EXPECT with the texts and models that the
// account's script uses.
import assert from "node:assert/strict";
import OpenAI from "openai";

const expect = JSON.parse(process.env.EXPECT);
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.TOKEN, maxRetries: 0 });
const model = expect.model;
const user = (content) => [{ role: "user", content }];
const schema = {
  type: "object", properties: { answer: { type: "string" } }, required: ["answer"], additionalProperties: false,
};
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };

// all is what ordinary programs send beside the conversation. The account's backend
// takes none of it.
const chatExtras = {
  temperature: 0.2, top_p: 0.9, max_tokens: 100, frequency_penalty: 0, presence_penalty: 0, user: "u-1",
  service_tier: "auto", metadata: { a: "b" }, safety_identifier: "s-1",
};
const responsesExtras = {
  temperature: 0.2, top_p: 0.9, max_output_tokens: 100, truncation: "auto", user: "u-1", service_tier: "flex",
  metadata: { a: "b" }, safety_identifier: "s-1", store: false,
};

const cases = {
  async chat() {
    const r = await client.chat.completions.create({ model, messages: user("hi") });
    assert.equal(r.object, "chat.completion");
    assert.equal(r.choices[0].message.content, expect.text);
    assert.equal(r.choices[0].finish_reason, "stop");
    assert.equal(r.usage.total_tokens, 18);
    assert.equal(r.usage.prompt_tokens_details.cached_tokens, 2);
    assert.equal(r.usage.completion_tokens_details.reasoning_tokens, 3);
  },

  async "chat stream"() {
    const stream = await client.chat.completions.create({
      model, messages: user("hi"), stream: true, stream_options: { include_usage: true },
    });
    let text = "", usage = null, finish = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, expect.text);
    assert.equal(finish, "stop");
    assert.equal(usage?.total_tokens, 18);
  },

  async "chat with all that the backend refuses"() {
    const r = await client.chat.completions.create({
      model, messages: [{ role: "system", content: "be short" }, ...user("hi")], ...chatExtras,
    });
    assert.equal(r.choices[0].message.content, expect.text);
  },

  async "chat with max_completion_tokens and an effort"() {
    const r = await client.chat.completions.create({
      model, messages: user("hi"), max_completion_tokens: 100, reasoning_effort: "high",
    });
    assert.equal(r.choices[0].message.content, expect.text);
  },

  async "chat with an effort in the model's name"() {
    const r = await client.chat.completions.create({ model: model + "-high", messages: user("effort by name") });
    assert.equal(r.choices[0].message.content, expect.text);
  },

  async "chat with a tool"() {
    const tools = [{ type: "function", function: { name: "weather", description: "the weather", parameters, strict: true } }];
    const messages = user(expect.askForTool);
    const first = await client.chat.completions.create({ model, messages, tools, tool_choice: "auto" });
    const call = first.choices[0].message.tool_calls[0];
    assert.equal(first.choices[0].finish_reason, "tool_calls");
    assert.equal(call.function.name, "weather");
    assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
    messages.push(first.choices[0].message, { role: "tool", tool_call_id: call.id, content: "sunny" });
    const second = await client.chat.completions.create({ model, messages, tools });
    assert.equal(second.choices[0].message.content, expect.text);
  },

  async "chat stream with a tool"() {
    const tools = [{ type: "function", function: { name: "weather", parameters } }];
    const runner = client.chat.completions.stream({ model, messages: user(expect.askForTool), tools });
    const final = await runner.finalChatCompletion();
    assert.deepEqual(JSON.parse(final.choices[0].message.tool_calls[0].function.arguments), { city: "Paris" });
    assert.equal(final.choices[0].finish_reason, "tool_calls");
  },

  async "chat with a schema"() {
    const r = await client.chat.completions.parse({
      model, messages: user("by schema"),
      response_format: { type: "json_schema", json_schema: { name: "out", strict: true, schema } },
    });
    assert.deepEqual(JSON.parse(r.choices[0].message.content), { answer: "yes" });
  },

  async responses() {
    const r = await client.responses.create({ model, input: "hi" });
    assert.equal(r.object, "response");
    assert.equal(r.status, "completed");
    assert.equal(r.output_text, expect.text);
    assert.equal(r.usage.total_tokens, 18);
  },

  async "responses stream"() {
    const kinds = [];
    let text = "";
    for await (const event of await client.responses.create({ model, input: "hi", stream: true })) {
      kinds.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    assert.equal(kinds[0], "response.created");
    assert.equal(kinds.at(-1), "response.completed");
    assert.equal(text, expect.text);
  },

  async "responses stream helper"() {
    const final = await client.responses.stream({ model, input: "hi" }).finalResponse();
    assert.equal(final.output_text, expect.text);
  },

  async "responses with all that the backend refuses"() {
    for (const stream of [false, true]) {
      const r = await client.responses.create({
        model, stream, input: [{ role: "system", content: "be short" }, { role: "user", content: "hi" }], ...responsesExtras,
      });
      if (!stream) assert.equal(r.output_text, expect.text);
      else for await (const event of r) assert.notEqual(event.type, "error");
    }
  },

  async "responses with a tool"() {
    const tools = [{ type: "function", name: "weather", parameters, strict: true }];
    const first = await client.responses.create({ model, input: expect.askForTool, tools });
    const call = first.output.find((item) => item.type === "function_call");
    assert.deepEqual(JSON.parse(call.arguments), { city: "Paris" });
    const second = await client.responses.create({
      model, tools,
      input: [{ role: "user", content: expect.askForTool }, ...first.output, { type: "function_call_output", call_id: call.call_id, output: "sunny" }],
    });
    assert.equal(second.output_text, expect.text);
  },

  async "responses with a schema"() {
    const r = await client.responses.parse({
      model, input: "by schema", text: { format: { type: "json_schema", name: "out", strict: true, schema } },
    });
    assert.deepEqual(JSON.parse(r.output_text), { answer: "yes" });
  },

  async "store is refused by name"() {
    const e = await client.responses.create({ model, input: "hi", store: true }).then(() => null, (e) => e);
    assert.equal(e?.status, 400);
    assert.equal(e.param, "store");
  },

  async "previous_response_id is refused by name"() {
    const e = await client.responses.create({ model, input: "hi", previous_response_id: "resp_1" }).then(() => null, (e) => e);
    assert.equal(e?.status, 400);
    assert.equal(e.param, "previous_response_id");
  },

  async "models list"() {
    const ids = [];
    for await (const one of client.models.list()) ids.push(one.id);
    assert.ok(ids.includes(model), `the list is ${ids}`);
  },
};

for (const [name, run] of Object.entries(cases)) {
  let error = null;
  try {
    await run();
  } catch (e) {
    error = String(e?.stack ?? e);
  }
  console.log(JSON.stringify({ name, error }));
}
