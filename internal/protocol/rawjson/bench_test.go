package rawjson

import (
	"encoding/json"
	"strings"
	"testing"
)

func prompt(size int, line string) []byte {
	return []byte(`{"model":"gpt-5.5","stream":true,"messages":[{"role":"user","content":"` +
		strings.Repeat(line, size/len(line)) + `"}],"temperature":0.7}`)
}

func BenchmarkParse(b *testing.B) {
	bodies := map[string][]byte{
		"200KiB_prose":  prompt(200<<10, `The quick brown fox jumps over the lazy dog; nothing else happens here.\n`),
		"200KiB_code":   prompt(200<<10, `\tif err != nil {\n\t\treturn fmt.Errorf(\"read %q: %w\", name, err)\n\t}\n`),
		"200KiB_hanzi":  prompt(200<<10, `敏捷的棕色狐狸跳过了懒狗，此外什么也没有发生。\n`),
		"200KiB_base64": prompt(200<<10, strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo", 20)),
		"1KiB":          prompt(1<<10, `The quick brown fox jumps over the lazy dog.\n`),
	}
	for name, body := range bodies {
		b.Run(name, func(b *testing.B) {
			fields := make([]Field, 0, 16)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(body, fields); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("200KiB_prose_encoding_json_valid", func(b *testing.B) {
		body := bodies["200KiB_prose"]
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if !json.Valid(body) {
				b.Fatal("invalid")
			}
		}
	})
}

func BenchmarkEdit(b *testing.B) {
	body := prompt(200<<10, `The quick brown fox jumps over the lazy dog; nothing else happens here.\n`)
	d, err := Parse(body, nil)
	if err != nil {
		b.Fatal(err)
	}
	model, yes := []byte(`"gpt-5.5-mini"`), []byte("true")
	dst := make([]byte, 0, len(body)+1024)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		e := Edits{Doc: &d}
		_ = e.Set("model", model)
		_ = e.Set("stream_options.include_usage", yes)
		dst = e.Apply(dst[:0])
	}
}
