package config

import (
	"reflect"
	"strings"
)

// envPrefix begins the name of every variable that is ours.
const envPrefix = "REALMS_"

// clientKeyEnv is the variable in which the documentation's clients keep their
// token: with our prefix, and none of the configuration.
const clientKeyEnv = envPrefix + "API_KEY"

// field is one leaf of Config.
type field struct {
	path   string // "server.addr"
	target any    // a pointer to the value inside the Config
}

func (f field) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(f.path, ".", "_"))
}

func (f field) secret() bool {
	switch f.target.(type) {
	case *DSN, *RedisURL, *Key, *[]Key:
		return true
	}
	return false
}

func (f field) list() bool { return reflect.TypeOf(f.target).Elem().Kind() == reflect.Slice }

// text is the value as it is written in a file; secrets without their password.
func (f field) text() string { return text(reflect.ValueOf(f.target).Elem().Interface()) }

// fields lists the leaves of a Config in the order of the struct.
func (c *Config) fields() []field { return leaves(reflect.ValueOf(c).Elem(), "") }

func leaves(v reflect.Value, prefix string) []field {
	var out []field
	for i := range v.NumField() {
		path := prefix + v.Type().Field(i).Tag.Get("yaml")
		if f := v.Field(i); f.Kind() == reflect.Struct {
			out = append(out, leaves(f, path+".")...)
		} else {
			out = append(out, field{path: path, target: f.Addr().Interface()})
		}
	}
	return out
}
