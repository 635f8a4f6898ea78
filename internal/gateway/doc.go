// Package gateway carries one inference request from its token to its answer,
// whatever the client's dialect.
//
// It owns the order of the steps, the state of one request and the single
// decision that matters most: when the answer is committed, after which no other
// upstream is ever asked. It never chooses a credential (scheduler), never talks
// to a provider (upstream), never parses a dialect's events (protocol) and never
// touches an http.ResponseWriter (api).
//
//	1 recognise  token → Principal                           recognise.go
//	2 read       body, whole, by bytes                       read.go, body.go
//	3 admit      model, limits, objects; opens the record    admit.go
//	4 plan       scheduler gives attempts one by one         execute.go
//	5 execute    upstream answers or teaches an Outcome      execute.go
//	6 relay      bytes as they come, late commit             whole.go, stream.go
//	7 settle     exactly once, before the terminal event     settle.go
package gateway
