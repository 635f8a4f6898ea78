package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEncodeFields(t *testing.T) {
	fields := []FieldChange{
		{Field: "priority", Before: "0", After: "10"},
		{Field: "models", Before: "[]", After: strings.Repeat("渠", 1001)},
	}
	detail, err := encodeFields(fields)
	if err != nil {
		t.Fatal(err)
	}
	var got []FieldChange
	if err := json.Unmarshal(detail, &got); err != nil {
		t.Fatal(err)
	}
	fields[1].After = strings.Repeat("渠", 1000) + "…"
	if d := cmp.Diff(fields, got); d != "" {
		t.Error(d)
	}
	if detail, err := encodeFields(nil); detail != nil || err != nil {
		t.Errorf("of nothing: %s, %v", detail, err)
	}
}

func TestEncodeFieldsFitsAColumn(t *testing.T) {
	var fields []FieldChange
	for i := range 100 {
		fields = append(fields, FieldChange{Field: fmt.Sprint(i), Before: strings.Repeat("<", 2000), After: strings.Repeat("渠", 2000)})
	}
	detail, err := encodeFields(fields)
	if err != nil || len(detail) > 65_535 {
		t.Fatalf("%d bytes, %v", len(detail), err)
	}
	var got []FieldChange
	if err := json.Unmarshal(detail, &got); err != nil {
		t.Fatal(err)
	}
	last := got[len(got)-1]
	if want := fmt.Sprintf("%d more", 100-(len(got)-1)); last.Field != "…" || last.After != want {
		t.Errorf("the end says %+v, want %q", last, want)
	}
}
