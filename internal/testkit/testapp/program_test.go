package testapp

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/config"
)

// The program reads the configuration that a test has made, whatever field it
// changed.
func TestTheEnvironmentSaysTheWholeConfiguration(t *testing.T) {
	t.Chdir(t.TempDir()) // no file says anything
	t.Setenv("REALMS_LOG_LEVEL", "error")
	plain := config.Default()
	changed := plain
	change(t, reflect.ValueOf(&changed).Elem())
	changed.Log.Level, changed.Log.Format = "debug", "json"
	changed.DB.DSN, changed.Redis.URL = "mysql://user:word@127.0.0.1:3306/db", "redis://:word@127.0.0.1:6379/2"
	changed.Server.Addr = "127.0.0.1:0"
	changed.Codex.TestIssuer, changed.Codex.TestBackend = "http://127.0.0.1:9000", "http://127.0.0.1:9000/backend-api"
	changed.Server.CORSOrigins = []string{"https://a.example", "https://b.example"}
	for name, want := range map[string]config.Config{"plain": plain, "changed": changed} {
		got, err := config.Load("", environment(want))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ours := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
		if diff := cmp.Diff(want, got, ours); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// change gives every field another value.
func change(t *testing.T, v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i).Addr().Interface().(type) {
		case *time.Duration:
			*f += 1500 * time.Millisecond
		case *int:
			*f++
		case *bool:
			*f = !*f
		case **bool:
			*f = new(false)
		case *config.Size:
			*f += config.MiB
		case *string:
			*f = "changed"
		case *[]netip.Prefix:
			*f = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
		case *config.Key:
			*f = "a key"
		case *[]config.Key:
			*f = []config.Key{"one key", "another"}
		case *[]string, *config.DSN, *config.RedisURL: // changed by name
		default:
			if v.Field(i).Kind() != reflect.Struct {
				t.Fatalf("no way to change a %T", f)
			}
			change(t, v.Field(i))
		}
	}
}
