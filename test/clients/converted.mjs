// Drives the chat helpers of the OpenAI SDK for Node against a gateway whose only
// upstream speaks Responses. It reports as sdk.mjs does: a line of JSON for each case.
//
// Environment: BASE_URL, TOKEN, and EXPECT with the model and what its upstream says.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { makeParseableResponseFormat, makeParseableTool } from "openai/lib/parser";

const expect = JSON.parse(process.env.EXPECT);
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.TOKEN, maxRetries: 0 });
const user = (content) => [{ role: "user", content }];
const model = expect.model;

const schema = {
  type: "object", properties: { answer: { type: "string" } }, required: ["answer"], additionalProperties: false,
};
const format = makeParseableResponseFormat(
  { type: "json_schema", json_schema: { name: "answer", strict: true, schema } },
  (text) => JSON.parse(text),
);

const parameters = {
  type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false,
};

// weather is a tool that remembers with what it was called.
function weather() {
  const asked = [];
  const tool = {
    type: "function",
    function: {
      name: "weather", parameters, parse: JSON.parse,
      function: ({ city }) => { asked.push(city); return `sunny in ${city}`; },
    },
  };
  return { asked, tool };
}

const cases = {
  async "chat"() {
    const r = await client.chat.completions.create({ model, messages: user("hi") });
    assert.equal(r.object, "chat.completion");
    assert.equal(r.choices[0].message.content, expect.said);
    assert.equal(r.choices[0].finish_reason, "stop");
    assert.equal(r.usage.prompt_tokens, 11);
    assert.equal(r.usage.completion_tokens_details.reasoning_tokens, 3);
  },

  async "stream, chunk by chunk"() {
    const stream = await client.chat.completions.create({
      model, messages: user("hi"), stream: true, stream_options: { include_usage: true },
    });
    let text = "", finish = null, usage = null, role = null, chunks = 0;
    for await (const chunk of stream) {
      chunks++;
      assert.equal(chunk.object, "chat.completion.chunk");
      role = chunk.choices[0]?.delta?.role ?? role;
      text += chunk.choices[0]?.delta?.content ?? "";
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, expect.said);
    assert.equal(finish, "stop");
    assert.equal(role, "assistant");
    assert.equal(usage?.total_tokens, 18);
    assert.ok(chunks > 4, `${chunks} chunks`);
  },

  async "stream without usage asked"() {
    for await (const chunk of await client.chat.completions.create({ model, messages: user("hi"), stream: true })) {
      assert.equal(chunk.choices.length, 1, "a chunk that was not asked for");
      assert.equal(chunk.usage ?? null, null);
    }
  },

  async "stream helper"() {
    const runner = client.chat.completions.stream({ model, messages: user("hi") });
    const deltas = [];
    runner.on("content", (delta) => deltas.push(delta));
    const final = await runner.finalChatCompletion();
    assert.equal(final.choices[0].message.content, expect.said);
    assert.equal(deltas.join(""), expect.said);
    assert.equal(await runner.finalContent(), expect.said);
  },

  async "tool call, whole"() {
    const { tool } = weather();
    const r = await client.chat.completions.create({ model, messages: user(expect.weather), tools: [{ type: "function", function: { name: "weather", parameters } }] });
    const [call] = r.choices[0].message.tool_calls;
    assert.equal(r.choices[0].finish_reason, "tool_calls");
    assert.equal(call.function.name, tool.function.name);
    assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
  },

  async "runTools"() {
    const { asked, tool } = weather();
    const runner = client.chat.completions.runTools({ model, messages: user(expect.weather), tools: [tool] });
    assert.equal(await runner.finalContent(), expect.said);
    assert.deepEqual(asked, ["Paris"]);
    assert.equal((await runner.finalFunctionToolCallResult()), "sunny in Paris");
  },

  async "runTools, streamed"() {
    const { asked, tool } = weather();
    const runner = client.chat.completions.runTools({ model, stream: true, messages: user(expect.weather), tools: [tool] });
    const calls = [];
    runner.on("functionToolCall", (call) => calls.push(call.name));
    assert.equal(await runner.finalContent(), expect.said);
    assert.deepEqual(asked, ["Paris"]);
    assert.deepEqual(calls, ["weather"]);
  },

  async "streamed tool call, parsed by the helper"() {
    const tool = makeParseableTool(
      { type: "function", function: { name: "weather", strict: true, parameters } },
      { parser: JSON.parse, callback: undefined },
    );
    const final = await client.chat.completions.stream({ model, messages: user(expect.weather), tools: [tool] }).finalChatCompletion();
    const [call] = final.choices[0].message.tool_calls;
    assert.deepEqual(call.function.parsed_arguments, { city: "Paris" });
  },

  async "parse"() {
    const r = await client.chat.completions.parse({ model, messages: user("by schema"), response_format: format });
    assert.deepEqual(r.choices[0].message.parsed, { answer: "yes" });
  },

  async "parse, streamed"() {
    const final = await client.chat.completions.stream({ model, messages: user("by schema"), response_format: format }).finalChatCompletion();
    assert.deepEqual(final.choices[0].message.parsed, { answer: "yes" });
  },

  async "what is reasoned"() {
    const r = await client.chat.completions.create({ model, messages: user("think"), reasoning_effort: "low" });
    assert.equal(r.choices[0].message.content, expect.said);
  },

  async "400 names the field"() {
    await assert.rejects(client.chat.completions.create({ model, messages: user("hi"), stop: ["x"] }), (e) => {
      assert.ok(e instanceof OpenAI.BadRequestError, `${e}`);
      assert.equal(e.param, "stop");
      return true;
    });
  },

  async "a stream that fails"() {
    await assert.rejects(async () => {
      for await (const chunk of await client.chat.completions.create({ model, messages: user("break it"), stream: true })) void chunk;
    }, (e) => {
      assert.match(e.message, /cut/);
      return true;
    });
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
