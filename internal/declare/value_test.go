package declare

import (
	"encoding/json"
	"testing"

	"realms/internal/yamldoc"
)

func TestValues(t *testing.T) {
	for in, want := range map[string]string{
		"1":                              "1",
		"-0.50e+3":                       "-0.50e+3",
		"18446744073709551616":           "18446744073709551616",
		"true":                           "true",
		"FALSE":                          "false",
		"null":                           "null",
		"~":                              "null",
		"[]":                             "[]",
		"{}":                             "{}",
		"'1'":                            `"1"`,
		`"true"`:                         `"true"`,
		"!!str 5":                        `"5"`,
		"yes":                            `"yes"`,
		"0x1F":                           `"0x1F"`,
		"007":                            `"007"`,
		".5":                             `".5"`,
		"2026-01-02":                     `"2026-01-02"`,
		"${N}":                           `"5"`,
		"'${N}${N}'":                     `"55"`,
		"$$5":                            `"$5"`,
		`"a<b&c>\u2028\"\\\n"`:           `"a<b&c>\u2028\"\\\n"`,
		"{z: 1, a: [x, 2, {}], b: ~}":    `{"z":1,"a":["x",2,{}],"b":null}`,
		`{"1": 1, 2: "${N}", $x: y}`:     `{"1":1,"2":"5","$x":"y"}`,
		"\n  - 1\n  - k: |\n      two\n": `[1,{"k":"two\n"}]`,
	} {
		root, err := yamldoc.Parse("f.yaml", []byte("v: "+in+"\n"))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		d := &decoder{expander: expander{lookup: func(string) (string, bool) { return "5", true }}, lines: map[string]int{}}
		got := d.json(root.Entries[0].Value, "v")
		if string(got) != want || len(d.problems) != 0 || !json.Valid(got) {
			t.Errorf("%s is read as %s, want %s; %v", in, got, want, d.problems)
		}
		back, err := yamldoc.Parse("f.yaml", []byte("v: {w: "+yamlValue(got)+"}\n"))
		if err != nil {
			t.Errorf("%s is written %s: %v", want, yamlValue(got), err)
			continue
		}
		if again := d.json(back.Entries[0].Value.Entries[0].Value, "v"); string(again) != want {
			t.Errorf("%s is written %s and read %s", want, yamlValue(got), again)
		}
	}
}
