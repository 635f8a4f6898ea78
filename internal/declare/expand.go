package declare

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// expander replaces what a value refers to: ${NAME} by a variable of the
// environment, a whole value file:PATH by the file's text without the line's end
// behind it. $$ stands for $, and file:: at the beginning for file: itself.
type expander struct {
	dir    string // that relative paths begin at
	lookup func(name string) (string, bool)
}

const filePrefix = "file:"

// maxFile is the longest text that file: reads.
const maxFile = 1 << 20

func (x expander) expand(text string) (string, error) {
	path, isFile := strings.CutPrefix(text, filePrefix)
	if isFile && strings.HasPrefix(path, ":") {
		rest, err := x.variables(path[1:])
		return filePrefix + rest, err
	}
	out, err := x.variables(path)
	if err != nil || !isFile {
		return out, err
	}
	return x.file(out)
}

func (x expander) file(path string) (string, error) {
	if path == "" {
		return "", errors.New("file: names no file: write file:PATH")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(x.dir, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return "", fmt.Errorf("the file %s cannot be read: %w", path, err)
	}
	if len(data) > maxFile {
		return "", fmt.Errorf("the file %s is larger than %d MiB", path, maxFile>>20)
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" {
		return "", fmt.Errorf("the file %s is empty", path)
	}
	return text, nil
}

// variables replaces ${NAME} and $$; what a variable holds is taken as it is.
func (x expander) variables(text string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), nil
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "{"):
			name, rest, closed := strings.Cut(after[1:], "}")
			if !closed || !isVariable(name) {
				return "", errors.New("${ must be followed by a variable's name and }: write ${NAME}, or $$ for a dollar sign")
			}
			value, ok := x.lookup(name)
			if !ok || value == "" {
				return "", fmt.Errorf("the environment variable %s is not set, or empty", name)
			}
			b.WriteString(value)
			text = rest
		default:
			b.WriteByte('$')
			text = after
		}
	}
}

func isVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// escape is the inverse of expand.
func escape(text string) string {
	text = strings.ReplaceAll(text, "$", "$$")
	if rest, ok := strings.CutPrefix(text, filePrefix); ok {
		return filePrefix + ":" + rest
	}
	return text
}
