package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The generator believes nothing: a wrong status, a cut stream or one without
// its end is an error, since a fast wrong answer would flatter a gateway.
func TestClientReadsAnswers(t *testing.T) {
	long := strings.Repeat("x", 40<<10)
	for _, c := range []struct {
		name   string
		model  string
		answer http.HandlerFunc
		want   string // in the error; "" for none
	}{
		{"whole", modelSmall, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(long)))
			_, _ = w.Write([]byte(long))
		}, ""},
		{"chunked", modelSmall, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(long)) }, ""},
		{"stream", modelStream, newUpstream().ServeHTTP, ""},
		{"stream of responses", modelResponses, newUpstream().ServeHTTP, ""},
		{"stream of responses without its end", modelResponses, func(w http.ResponseWriter, _ *http.Request) { send(w, []byte("data: {}\n\n")) }, "without \"event: response.completed"},
		{"stream without its end", modelStream, func(w http.ResponseWriter, _ *http.Request) { send(w, []byte("data: {}\n\n")) }, "without \"data: [DONE]"},
		{"stream that is cut", modelStream, func(w http.ResponseWriter, _ *http.Request) {
			send(w, []byte("data: {}\n\n"))
			panic(http.ErrAbortHandler)
		}, "read the body"},
		{"an error", modelSmall, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no token", http.StatusUnauthorized) }, "status HTTP/1.1 401"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(c.answer)
			defer s.Close()
			cl, err := dial(t.Context(), s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll([]*client{cl})
			first, whole, err := cl.do(newRequest(c.model, "token", 100, 2))
			switch {
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("the error is %v, not %q", err, c.want)
			case c.want == "" && (err != nil || first <= 0 || whole < first):
				t.Errorf("first %v, whole %v, %v", first, whole, err)
			}
		})
	}
}

func TestLoadSendsWhatItSays(t *testing.T) {
	asked := make(chan struct{}, 1000)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		_, _ = w.Write(smallAnswer)
	}))
	defer s.Close()
	l := load{addr: s.Listener.Addr().String(), request: newRequest(modelSmall, "token", 10, 0), clients: 4, count: 40}
	got, err := l.run(t.Context(), func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if len(got.whole) != 40 || got.sent != len(asked) {
		t.Errorf("%d measured, %d said to be sent, %d came", len(got.whole), got.sent, len(asked))
	}
	for i := 1; i < len(got.whole); i++ {
		if got.whole[i] < got.whole[i-1] {
			t.Fatal("the sample is not sorted")
		}
	}
}

func TestQuantiles(t *testing.T) {
	list := make([]time.Duration, 100)
	for i := range list {
		list[i] = time.Duration(i + 1)
	}
	if a, b := quantile(list, 0.5), quantile(list, 0.99); a != 51 || b != 100 {
		t.Errorf("p50 is %d, p99 is %d", a, b)
	}
	for want, values := range map[float64][]float64{0: nil, 2: {3, 1, 2}, 2.5: {4, 1, 2, 3}} {
		if got := middle(values); got != want {
			t.Errorf("the middle of %v is %v", values, got)
		}
	}
	obs := func(cpu ...time.Duration) (list []observation) {
		for _, c := range cpu {
			list = append(list, observation{cpu: c})
		}
		return list
	}
	got := ratio(obs(10, 30, 20), obs(10, 10, 10), func(o observation) float64 { return float64(o.cpu) })
	if got != "**2.00** (1.00 – 3.00)" {
		t.Errorf("the ratio is %s", got)
	}
}

// What is sent is JSON, with the tools and the prompt that are asked for.
func TestRequests(t *testing.T) {
	for _, model := range []string{modelSmall, modelStream, modelResponses, modelOverChat, modelOverResponses} {
		for _, tools := range []int{0, agentTools} {
			_, body, _ := strings.Cut(string(newRequest(model, "token", agentPrompt, tools).bytes), "\r\n\r\n")
			var q struct {
				Model string
				Tools []struct{ Type string }
			}
			if err := json.Unmarshal([]byte(body), &q); err != nil || q.Model != model || len(q.Tools) != tools || len(body) < agentPrompt {
				t.Errorf("%s with %d tools: %v, %d bytes with %d", model, tools, err, len(body), len(q.Tools))
			}
		}
	}
}
