// Package openai speaks OpenAI's HTTP dialect to clients: routes, headers, errors
// and the framing of streams.
//
// It owns what a client sees on the wire. It decides nothing about upstreams,
// tokens or money (gateway), and knows no event's meaning (protocol/openai).
package openai
