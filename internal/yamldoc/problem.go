package yamldoc

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing wrong with a file and what to do about it.
type Problem struct {
	Source  string // the file's name, or another place the value came from
	Line    int    // from 1; 0: none
	Field   string // "channels[0].endpoints[1].base_url"; empty: the whole file
	Message string
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Source)
	if p.Line > 0 {
		b.WriteString(":" + strconv.Itoa(p.Line))
	}
	for _, s := range []string{p.Field, p.Message} {
		if s == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(s)
	}
	return b.String()
}

// Problems is every problem found, as one error of one line each.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// Err is the list in the order of the file, or nil when it is empty.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return p
}

// Add appends a problem at a line of a source.
func (p *Problems) Add(source string, line int, field, format string, args ...any) {
	*p = append(*p, Problem{Source: source, Line: line, Field: field, Message: fmt.Sprintf(format, args...)})
}

// Nearest is the known word that was most likely meant: the one with the fewest
// letters changed, or else the only one that begins with the word; empty if none
// is near.
func Nearest(word string, known []string) string {
	best, bestCost := "", len(word)/3+1
	for _, k := range known {
		if cost := distance(strings.ToLower(word), strings.ToLower(k)); cost <= bestCost && (best == "" || cost < bestCost) {
			best, bestCost = k, cost
		}
	}
	if best != "" || len(word) < minPrefix {
		return best
	}
	for _, k := range known {
		switch {
		case !strings.HasPrefix(strings.ToLower(k), strings.ToLower(word)):
		case best != "":
			return "" // several begin so
		default:
			best = k
		}
	}
	return best
}

// minPrefix is the shortest beginning that says which word is meant.
const minPrefix = 3

// Suggest ends a message about an unknown word: with the nearest known one, or
// with all of them when none is near.
func Suggest(word string, known []string) string {
	if near := Nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "known here: " + strings.Join(known, ", ")
}

// distance is Levenshtein's, with one row kept.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
