package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	const in = `{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestGood"}
{"Action":"output","Package":"a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"pass","Package":"a","Test":"TestGood","Elapsed":0.1}
{"Action":"output","Package":"a","Test":"TestSkip","Output":"=== RUN   TestSkip\n"}
{"Action":"output","Package":"a","Test":"TestSkip","Output":"    a_test.go:7: no database\n"}
{"Action":"output","Package":"a","Test":"TestSkip","Output":"--- SKIP: TestSkip (0.00s)\n"}
{"Action":"skip","Package":"a","Test":"TestSkip","Elapsed":0}
{"Action":"output","Package":"a","Test":"TestBad","Output":"    a_test.go:9: one is not two\n"}
{"Action":"fail","Package":"a","Test":"TestBad","Elapsed":0.2}
{"Action":"output","Package":"a","Output":"panic: oh\n"}
{"Action":"output","Package":"a","Output":"FAIL\ta\t0.3s\n"}
{"Action":"fail","Package":"a","Elapsed":0.3}
{"ImportPath":"b","Action":"build-output","Output":"b.go:1: syntax error\n"}
{"Action":"skip","Package":"c","Elapsed":0}
not json
`
	var out bytes.Buffer
	sum, err := read(strings.NewReader(in), &out)
	if err != nil {
		t.Fatal(err)
	}
	sum.print(&out)
	for _, want := range []string{
		"--- FAIL: a TestBad (0.20s)\n    a_test.go:9: one is not two\n",
		"panic: oh\nFAIL  a 0.3s\n",
		"b.go:1: syntax error\n",
		"not json\n",
		"  a TestSkip: a_test.go:7: no database\n",
		"\n1 passed, 1 failed, 1 skipped\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing from:\n%s", want, out.String())
		}
	}
	if sum.strict() == nil {
		t.Error("a skipped test was allowed")
	}
}

func TestStrict(t *testing.T) {
	for _, c := range []struct {
		name string
		sum  summary
		bad  bool
	}{
		{"all passed", summary{passed: 3}, false},
		{"nothing ran", summary{}, true},
		{"one skipped", summary{passed: 3, skipped: []skipped{{"a", "b"}}}, true},
	} {
		if got := c.sum.strict() != nil; got != c.bad {
			t.Errorf("%s: refused is %v", c.name, got)
		}
	}
}
