package realm

import (
	"fmt"
	"math/bits"
	"strings"
)

// API is one part of OpenAI's surface that a channel may speak.
type API uint16

// The APIs, in the order in which they are listed.
const (
	APIResponses API = 1 << iota
	APIChat
	APICompletions
	APIEmbeddings
	APIImages
	APIAudio
	APIModerations
	APIRerank
	APICompact
	APIInputTokens
)

var apiNames = [...]string{
	"responses", "chat", "completions", "embeddings", "images", "audio",
	"moderations", "rerank", "compact", "input_tokens",
}

func (a API) String() string {
	if i := bits.TrailingZeros16(uint16(a)); i < len(apiNames) && a == 1<<i {
		return apiNames[i] // one, as it should be
	}
	return APISet(a).String()
}

// APISet is what a channel speaks itself.
type APISet uint16

// AllAPIs is the default of a channel that declares none.
const AllAPIs APISet = 1<<len(apiNames) - 1

// Has tells whether the set holds the API.
func (s APISet) Has(a API) bool { return s&APISet(a) != 0 }

// Names lists the set in declared order.
func (s APISet) Names() []string {
	var names []string
	for i, n := range apiNames {
		if s&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

func (s APISet) String() string { return strings.Join(s.Names(), ",") }

// ParseAPIs reads a list of names; an empty one is AllAPIs.
func ParseAPIs(names []string) (APISet, error) {
	if len(names) == 0 {
		return AllAPIs, nil
	}
	var set APISet
next:
	for _, name := range names {
		for i, n := range apiNames {
			if n == name {
				set |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("%q is not an api: one of %s is expected", name, strings.Join(apiNames[:], ", "))
	}
	return set, nil
}
