package openai

import "strings"

var efforts = [...]string{"none", "minimal", "low", "medium", "high", "xhigh"}

// SplitEffort cuts a reasoning effort off a model's name: "o3-high" is o3, high.
// Whether the whole name is a model of its own is the caller's to know first.
func SplitEffort(name string) (base, effort string, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return name, "", false
	}
	for _, e := range efforts {
		if name[i+1:] == e {
			return name[:i], e, true
		}
	}
	return name, "", false
}
