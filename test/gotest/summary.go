package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

// skipped is a test that did not run, and why.
type skipped struct{ name, reason string }

// summary is what a run came to.
type summary struct {
	passed, failed int
	skipped        []skipped
}

// read follows the events of one run; packages and failures are printed as they
// come.
func read(in io.Reader, out io.Writer) (summary, error) {
	var sum summary
	output := map[string]*strings.Builder{} // of the tests that have not ended, by package and name
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				_, _ = out.Write(line) // not an event: the go command speaks for itself
			} else {
				sum.add(e, output, out)
			}
		}
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, fmt.Errorf("read the events of go test: %w", err)
		}
	}
}

// add counts an event in.
func (s *summary) add(e event, output map[string]*strings.Builder, out io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		_, _ = io.WriteString(out, e.Output)
	case "output":
		if output[key] == nil {
			output[key] = new(strings.Builder)
		}
		output[key].WriteString(e.Output)
	case "pass", "fail", "skip":
		text := ""
		if b := output[key]; b != nil {
			text = b.String()
		}
		delete(output, key)
		if e.Test == "" {
			endPackage(e, text, out)
			return
		}
		s.endTest(e, text, out)
	}
}

func (s *summary) endTest(e event, text string, out io.Writer) {
	switch e.Action {
	case "pass":
		s.passed++
	case "fail":
		s.failed++
		_, _ = fmt.Fprintf(out, "--- FAIL: %s %s (%.2fs)\n%s", e.Package, e.Test, e.Elapsed, text)
	case "skip":
		s.skipped = append(s.skipped, skipped{e.Package + " " + e.Test, reason(text)})
	}
}

// endPackage prints the package's line, and all it said where it failed: a
// panic or an os.Exit belongs to no test.
func endPackage(e event, text string, out io.Writer) {
	switch e.Action {
	case "pass":
		_, _ = fmt.Fprintf(out, "ok    %s %.1fs\n", e.Package, e.Elapsed)
	case "fail":
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "FAIL") { // go test's own word for what follows
				_, _ = io.WriteString(out, line)
			}
		}
		_, _ = fmt.Fprintf(out, "FAIL  %s %.1fs\n", e.Package, e.Elapsed)
	}
}

// reason is what a skipped test said last, without the lines of go test.
func reason(text string) string {
	last := "no reason given"
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			last = line
		}
	}
	return last
}

// print closes the run.
func (s summary) print(out io.Writer) {
	if len(s.skipped) > 0 {
		_, _ = fmt.Fprintln(out, "\nskipped:")
		for _, k := range s.skipped {
			_, _ = fmt.Fprintf(out, "  %s: %s\n", k.name, k.reason)
		}
	}
	_, _ = fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", s.passed, s.failed, len(s.skipped))
}

// strict says what a run in CI must not do.
func (s summary) strict() error {
	if len(s.skipped) > 0 {
		return fmt.Errorf("%d tests were skipped, and -strict allows none", len(s.skipped))
	}
	if s.passed+s.failed == 0 {
		return errors.New("no test ran")
	}
	return nil
}
