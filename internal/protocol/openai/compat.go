package openai

import (
	"slices"
	"strings"
)

// The words of a model's compat list. Each edits only fields that are present.
const (
	CompatMaxCompletionTokens = "max_completion_tokens" // chat: max_tokens is renamed to it
	CompatNoSampling          = "no_sampling"           // chat and responses: sampling fields are dropped
	CompatDeveloperRole       = "developer_role"        // chat and responses: system messages become developer ones
)

var compatWords = []string{CompatMaxCompletionTokens, CompatNoSampling, CompatDeveloperRole}

// samplingFields are what reasoning models refuse.
var samplingFields = []string{
	"temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias",
}

// Preset is the compat list of a model's family, by its upstream name; nil if it
// needs none. The slice is shared: it must not be changed.
func Preset(model string) []string {
	name := strings.ToLower(model[strings.LastIndexByte(model, '/')+1:])
	if !reasons(name) || strings.Contains(name, "-chat") {
		return nil
	}
	return compatWords
}

// reasons tells whether a name is of OpenAI's reasoning families: o1, o3, o4, and
// gpt-5 and later.
func reasons(name string) bool {
	for _, family := range [...]string{"o1", "o3", "o4", "gpt-5", "gpt-6"} {
		rest, ok := strings.CutPrefix(name, family)
		if ok && (rest == "" || rest[0] == '-' || rest[0] == '.') {
			return true
		}
	}
	return false
}

// ValidCompat tells whether a word may stand in a compat list.
func ValidCompat(word string) bool { return slices.Contains(compatWords, word) }
