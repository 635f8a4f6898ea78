package version

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestLine(t *testing.T) {
	toolchain := runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	for _, c := range []struct {
		number string
		info   *debug.BuildInfo
		want   string
	}{
		{"dev", nil, "realms dev " + toolchain},
		{"1.2.3", &debug.BuildInfo{}, "realms 1.2.3 " + toolchain},
		{"1.2.3", &debug.BuildInfo{Settings: []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef")}}, "realms 1.2.3 0123456789ab " + toolchain},
		{"dev", &debug.BuildInfo{Settings: []debug.BuildSetting{setting("vcs.revision", "0123"), setting("vcs.modified", "true")}}, "realms dev 0123+changes " + toolchain},
	} {
		if got := line(c.number, c.info); got != c.want {
			t.Errorf("line(%q) = %q, want %q", c.number, got, c.want)
		}
	}
}
