// Package version says which build of Realms this is. It owns nothing else and
// never reaches out to look for another.
package version

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// number is the release; the linker sets it (-X realms/internal/version.number=1.2.3).
var number = "dev"

// String is one line: release, commit and toolchain, as far as the build knows them.
func String() string {
	info, _ := debug.ReadBuildInfo()
	return line(number, info)
}

// Number is the release alone.
func Number() string { return number }

func line(number string, info *debug.BuildInfo) string {
	parts := []string{"realms", number}
	if info != nil {
		revision, modified := "", false
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value[:min(len(s.Value), 12)]
			case "vcs.modified":
				modified = s.Value == "true"
			}
		}
		if revision != "" {
			if modified {
				revision += "+changes"
			}
			parts = append(parts, revision)
		}
	}
	return strings.Join(append(parts, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH), " ")
}
