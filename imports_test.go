package realms_test

import "slices"

// services hold the verbs; each is a room of its own.
var services = []string{"account", "catalog", "codex", "settings", "usage"}

// rooms is the import table: what each package may import of ours, in files
// that are not tests. Names are below internal/ where a slash does not begin
// them; a name stands for the packages below it too. Imports run downward only,
// and no circle can stand, since the compiler forbids it.
//
// Change it together with docs/architecture.md and a record in docs/adr, and run
// `make generate`: the linter's rules are made from it.
var rooms = map[string][]string{
	"/cmd/realms": slices.Concat(services, []string{"server", "config", "declare", "demo", "netguard", "realm", "secret", "store", "version", "yamldoc"}),

	"server": slices.Concat(services, []string{
		"api", "cluster", "config", "demo", "gateway", "limit", "netguard", "protocol", "realm", "scheduler", "secret", "sse", "store", "telemetry", "upstream", "version",
	}),
	"api/openai": {"gateway", "protocol", "sse", "realm"},
	"gateway":    slices.Concat(services, []string{"scheduler", "upstream", "protocol", "sse", "limit", "realm"}),

	"account":  {"store", "settings", "realm"},
	"catalog":  {"store", "settings", "realm"},
	"codex":    {"catalog", "settings", "store", "upstream/codexauth", "realm"},
	"settings": {"store", "realm"},
	"usage":    {"store", "settings", "realm"},
	"declare":  {"account", "catalog", "settings", "store", "realm", "yamldoc"},

	"cluster":            {"realm"},
	"scheduler":          {"realm"},
	"upstream":           {"protocol", "sse", "netguard", "realm"},
	"upstream/codexauth": {"protocol", "realm"},
	"protocol/openai":    {"protocol/rawjson", "sse", "realm"},
	"protocol/convert":   {"protocol/openai", "protocol/rawjson", "sse", "realm"},
	"protocol/rawjson":   {},

	"secret":          {"realm"},
	"store":           {"secret", "realm"},
	"store/storetest": {"store", "realm"},

	"config":   {"yamldoc"},
	"demo":     {},
	"limit":    {},
	"netguard": {},
	"realm":    {},
	"sse":      {},
	"version":  {},
	"yamldoc":  {},

	"testkit":           {},
	"testkit/codextest": {"testkit", "realm"},
	"testkit/redistest": {},
	"testkit/testapp":   {"*"},

	"/bench":        {},
	"/test/clients": {},
	"/test/gotest":  {},
	"/test/relay":   {},
}

// forTests are the packages that only tests may import.
var forTests = []string{"testkit", "store/storetest"}

// modules are what we take from others, and where. A new one needs a line in
// docs/adr.
var modules = map[string]string{
	"github.com/andybalholm/brotli":       "anywhere",
	"github.com/caarlos0/env/v11":         "anywhere",
	"github.com/go-sql-driver/mysql":      "anywhere",
	"github.com/goccy/go-yaml":            "anywhere",
	"github.com/klauspost/compress":       "anywhere",
	"github.com/pressly/goose/v3":         "anywhere",
	"github.com/prometheus/client_golang": "anywhere",
	"github.com/redis/go-redis/v9":        "anywhere",
	"github.com/tidwall/gjson":            "anywhere",
	"github.com/tidwall/sjson":            "anywhere",
	"golang.org/x/crypto":                 "anywhere",
	"golang.org/x/sync":                   "anywhere",
	"golang.org/x/sys":                    "anywhere",
	"golang.org/x/time":                   "anywhere",
	"modernc.org/sqlite":                  "anywhere",

	"github.com/google/go-cmp":           "tests",
	"github.com/openai/openai-go/v3":     "tests",
	"github.com/pingcap/tidb/pkg/parser": "tests",
	"github.com/prometheus/client_model": "tests",
	"github.com/rogpeppe/go-internal":    "tests",
	"go.uber.org/goleak":                 "tests",
	"golang.org/x/net":                   "tests",
	"golang.org/x/tools":                 "tests",
	"pgregory.net/rapid":                 "tests",
}

// unwanted are modules that somebody will think of; the linter names the reason.
var unwanted = map[string]string{
	"github.com/stretchr/testify": "the standard library and go-cmp say it as well",
	"github.com/spf13/cobra":      "cmd/realms has its own small table of commands",
	"github.com/spf13/viper":      "config is one struct, read strictly",
	"github.com/gin-gonic/gin":    "net/http has patterns",
	"github.com/labstack/echo":    "net/http has patterns",
	"gorm.io":                     "SQL is written by hand",
	"go.uber.org/fx":              "internal/server is the only assembly",
	"github.com/google/wire":      "internal/server is the only assembly",
	"go.uber.org/mock":            "fakes stand for the outside world only, and are written by hand",
	"github.com/golang/mock":      "fakes stand for the outside world only, and are written by hand",
	"io/ioutil":                   "os and io have it",
	"math/rand$":                  "math/rand/v2, and crypto/rand for anything that must not be guessed",
}
