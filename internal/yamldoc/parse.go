package yamldoc

import (
	"bytes"
	"errors"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Kind is the shape of a value.
type Kind uint8

// The kinds of value.
const (
	Null Kind = iota // nothing, "~" or "null"
	Scalar
	Map
	List
)

func (k Kind) String() string {
	return [...]string{"nothing", "a single value", "a mapping", "a list"}[k]
}

// Node is one value of a file.
type Node struct {
	Kind    Kind
	Line    int
	Text    string  // a scalar as written, quotes removed: 1.250 stays "1.250"
	Entries []Entry // a mapping, in the order of the file
	Items   []Node  // a list

	size   int  // values inside and itself, aliases counted each time
	quoted bool // a scalar that is a text, whatever it looks like
}

// Plain tells whether a scalar was written without quotes, so that it may be more
// than a text: a number, true or false.
func (n Node) Plain() bool { return n.Kind == Scalar && !n.quoted }

// Entry is a key of a mapping with its value.
type Entry struct {
	Key   string
	Line  int
	Value Node
}

// Bounds on a file: an operator's own, so they only keep a slip (the wrong file,
// aliases that multiply) from taking the machine's memory.
const (
	maxBytes = 16 << 20
	maxNodes = 1 << 20
	maxDepth = 100
)

// Parse reads one YAML document. An empty file is a mapping without entries.
// The error is a Problems; what could be read is returned beside it.
func Parse(source string, data []byte) (Node, error) {
	p := &reader{source: source, anchors: map[string]Node{}}
	empty := Node{Kind: Map, Line: 1}
	if len(data) > maxBytes {
		p.problems.Add(source, 0, "", "the file is larger than %d MiB: is it the right one?", maxBytes>>20)
		return empty, p.problems.Err()
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		p.syntax(err)
		return empty, p.problems.Err()
	}
	root, found := empty, false
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType || doc.Body.Type() == ast.CommentType {
			continue
		}
		if found {
			p.problems.Add(source, doc.Body.GetToken().Position.Line, "", "the file holds a second document: write everything in one, without a --- between")
			break
		}
		root, found = p.node(doc.Body, "", 0), true
	}
	return root, p.problems.Err()
}

type reader struct {
	source   string
	problems Problems
	anchors  map[string]Node
	nodes    int
	tooMuch  bool
}

// syntax takes position and words from the parser's error and leaves the excerpt
// of the file that its Error method shows.
func (p *reader) syntax(err error) {
	var at interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &at) {
		p.problems.Add(p.source, 0, "", "not valid YAML")
		return
	}
	line := 0
	if t := at.GetToken(); t != nil && t.Position != nil {
		line = t.Position.Line
	}
	p.problems.Add(p.source, line, "", "not valid YAML: %s", at.GetMessage())
}

func (p *reader) node(n ast.Node, field string, depth int) Node {
	line := n.GetToken().Position.Line
	p.nodes++
	if p.nodes > maxNodes || depth > maxDepth {
		if !p.tooMuch {
			p.problems.Add(p.source, line, field, "the file is nested too deeply or holds too many values")
		}
		p.tooMuch = true
		return Node{Line: line}
	}
	switch v := n.(type) {
	case *ast.NullNode:
		return Node{Kind: Null, Line: line, size: 1}
	case *ast.LiteralNode:
		return Node{Kind: Scalar, Line: line, Text: v.Value.Value, size: 1, quoted: true}
	case *ast.StringNode:
		quoted := v.Token.Type == token.SingleQuoteType || v.Token.Type == token.DoubleQuoteType
		return Node{Kind: Scalar, Line: line, Text: v.Token.Value, size: 1, quoted: quoted}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return Node{Kind: Scalar, Line: line, Text: n.GetToken().Value, size: 1}
	case *ast.MappingNode:
		return p.mapping(v, line, field, depth)
	case *ast.SequenceNode:
		out := Node{Kind: List, Line: line, Items: make([]Node, 0, len(v.Values))}
		for i, item := range v.Values {
			out.Items = append(out.Items, p.node(item, Index(field, i), depth+1))
			out.size += out.Items[i].size
		}
		out.size++
		return out
	case *ast.TagNode:
		if v.Value != nil {
			out := p.node(v.Value, field, depth+1)
			out.quoted = out.quoted || v.Start.Value == "!!str"
			return out
		}
	case *ast.AnchorNode:
		out := p.node(v.Value, field, depth+1)
		p.anchors[v.Name.GetToken().Value] = out
		return out
	case *ast.AliasNode:
		return p.alias(v, line, field)
	}
	p.problems.Add(p.source, line, field, "this kind of YAML is not used here: write a plain value, a list or a mapping")
	return Node{Line: line}
}

func (p *reader) alias(v *ast.AliasNode, line int, field string) Node {
	name := v.Value.GetToken().Value
	out, ok := p.anchors[name]
	if !ok {
		p.problems.Add(p.source, line, field, "*%s stands for nothing: mark a value before it with &%s", name, name)
		return Node{Line: line}
	}
	p.nodes += out.size
	return out
}

func (p *reader) mapping(v *ast.MappingNode, line int, field string, depth int) Node {
	out := Node{Kind: Map, Line: line, Entries: make([]Entry, 0, len(v.Values))}
	seen := make(map[string]int, len(v.Values))
	for i, pair := range v.Values {
		at := pair.Key.GetToken()
		if i == 0 {
			out.Line = at.Position.Line
		}
		switch pair.Key.(type) {
		case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		default:
			p.problems.Add(p.source, at.Position.Line, field, "a key must be a plain word")
			continue
		}
		e := Entry{Key: at.Value, Line: at.Position.Line}
		if first, again := seen[e.Key]; again {
			p.problems.Add(p.source, e.Line, Key(field, e.Key), "stands here twice, first on line %d: keep one", first)
			continue
		}
		seen[e.Key] = e.Line
		e.Value = p.node(pair.Value, Key(field, e.Key), depth+1)
		out.Entries = append(out.Entries, e)
		out.size += e.Value.size
	}
	out.size++
	return out
}
