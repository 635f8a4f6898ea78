package upstream

import (
	"strconv"
	"strings"
	"testing"
)

func TestJoinURL(t *testing.T) {
	for _, tc := range []struct{ base, path, query, want string }{
		{"https://api.openai.com/v1", "/responses", "", "https://api.openai.com/v1/responses"},
		{"https://api.openai.com/v1/", "/responses", "", "https://api.openai.com/v1/responses"},
		{"https://api.openai.com/v1//", "/responses", "", "https://api.openai.com/v1/responses"},
		{"https://api.openai.com", "/responses", "", "https://api.openai.com/v1/responses"},
		{"https://api.openai.com/", "/chat/completions", "", "https://api.openai.com/v1/chat/completions"},
		{"http://127.0.0.1:8000", "/embeddings", "", "http://127.0.0.1:8000/v1/embeddings"},
		{"http://[::1]:8000/v1", "/embeddings", "", "http://[::1]:8000/v1/embeddings"},
		{"https://host/openai", "/responses", "", "https://host/openai/v1/responses"},
		{"https://host/openai/v1", "/responses", "", "https://host/openai/v1/responses"},
		{"https://host/text/v1", "/responses", "", "https://host/text/v1/responses"},
		{"https://host/api/paas/v4", "/chat/completions", "", "https://host/api/paas/v4/chat/completions"},
		{"https://host/v1beta/openai/", "/chat/completions", "", "https://host/v1beta/openai/chat/completions"},
		{"https://host/v1/account/gateway/openai", "/responses", "", "https://host/v1/account/gateway/openai/responses"},
		{"https://host/vendor", "/responses", "", "https://host/vendor/v1/responses"},
		{"https://host/pre%20fix/v1", "/responses", "", "https://host/pre%20fix/v1/responses"},
		{"https://host/a%2Fb/v1", "/responses", "", "https://host/a%2Fb/v1/responses"},
		{"https://host/v1?api-version=2", "/responses", "", "https://host/v1/responses?api-version=2"},
		{"https://host/v1?api-version=2", "/responses", "beta=true", "https://host/v1/responses?api-version=2&beta=true"},
		{"https://host/v1#frag", "/responses", "", "https://host/v1/responses"},
		{"https://host/v1", "/responses/resp_1/input_items", "limit=2&after=a%20b", "https://host/v1/responses/resp_1/input_items?limit=2&after=a%20b"},
		{"https://host/v1", "/responses/a%3Ab", "", "https://host/v1/responses/a%3Ab"},
		{"https://host/v1", "/responses", "beta=true&key=SECRET", "https://host/v1/responses?beta=true"},
		{"https://host/v1", "/responses", "key=SECRET&beta=true&token=SECRET&access_token=SECRET&api_key=SECRET&apikey=SECRET&API-Key=SECRET", "https://host/v1/responses?beta=true"},
		{"https://host/v1", "/responses", "KEY=SECRET&%6bey=SECRET&access%5Ftoken=SECRET&key", "https://host/v1/responses"},
		{"https://host/v1", "/responses", "keys=1&mytoken=2", "https://host/v1/responses?keys=1&mytoken=2"},
		{"https://host/v1", "/responses", "&&a=1&", "https://host/v1/responses?a=1"},
		{"https://host/v1", "/responses", "a=1\r\nHost: x&b=2", "https://host/v1/responses?b=2"},
		{"https://host/v1", "/responses", "z=1&a=2&z=3", "https://host/v1/responses?z=1&a=2&z=3"},
	} {
		var c urlCache
		for range 2 { // the second from the cache
			u, err := c.join(tc.base, tc.path, tc.query)
			if err != nil {
				t.Errorf("%s + %s?%s: %v", tc.base, tc.path, tc.query, err)
			} else if got := u.String(); got != tc.want {
				t.Errorf("%s + %s?%s = %s, want %s", tc.base, tc.path, tc.query, got, tc.want)
			}
		}
	}
}

func TestJoinURLHidesTheBase(t *testing.T) {
	for _, base := range []string{"https://user:hunter22@host/v1", "https://ho st/hunter22", "hunter22://host"} {
		if _, err := joinURL(base, "/responses"); err == nil || strings.Contains(err.Error(), "hunter22") {
			t.Errorf("%s: err = %v", base, err)
		}
	}
}

func TestURLCacheIsBounded(t *testing.T) {
	var c urlCache
	for i := range 3 * maxCachedURLs {
		if _, err := c.join("https://host/v1", "/responses/resp_"+strconv.Itoa(i), ""); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	c.entries.Range(func(any, any) bool { n++; return true })
	if n == 0 || n > maxCachedURLs {
		t.Errorf("%d entries", n)
	}
}

func BenchmarkJoinURL(b *testing.B) {
	var c urlCache
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.join("https://host/v1", "/responses", ""); err != nil {
			b.Fatal(err)
		}
	}
}
