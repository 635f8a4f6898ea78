package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"realms/internal/realm"
)

const (
	maxName = 190   // characters, of a VARCHAR(190): MySQL indexes no more for certain
	maxText = 65535 // bytes, of MySQL's TEXT
)

// millis is a column's form of an instant; the zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// trimName trims a name in place and refuses one that a column cannot hold. It
// is here because 'a' and 'a ' are one name to utf8mb4_bin and two to SQLite.
func trimName(field string, name *string) error {
	if *name = strings.TrimSpace(*name); *name == "" {
		return realm.Invalid(field, "A name is needed.")
	}
	return trimLabel(field, name)
}

// trimLabel is trimName for a name that may be empty.
func trimLabel(field string, name *string) error {
	*name = strings.TrimSpace(*name)
	if utf8.RuneCountInString(*name) > maxName {
		return realm.Invalid(field, fmt.Sprintf("A name has at most %d characters.", maxName))
	}
	return checkText(field, *name)
}

// checkText refuses what a TEXT column cannot hold.
func checkText(field, text string) error {
	switch {
	case len(text) > maxText:
		return realm.Invalid(field, fmt.Sprintf("At most %d bytes can be stored.", maxText))
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return realm.Invalid(field, "Only text in UTF-8 can be stored.")
	}
	return nil
}

// checkSealedSize refuses what would not fit once it is sealed, also where nothing
// is sealed yet: a master key may be set later.
func checkSealedSize(field string, bytes int) error {
	if bytes > maxText {
		return realm.Invalid(field, fmt.Sprintf("It is too long: sealed it takes %d bytes, and at most %d can be stored.", bytes, maxText))
	}
	return nil
}

// toJSON is a nullable column of a structure; absent says that it is NULL.
func toJSON(field string, v any, absent bool) (sql.NullString, error) {
	if absent {
		return sql.NullString{}, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return sql.NullString{}, fmt.Errorf("encode %s: %w", field, err)
	}
	return sql.NullString{String: string(b), Valid: true}, checkText(field, string(b))
}

// fromJSON reads what toJSON wrote; NULL leaves v as it is.
func fromJSON(field string, text sql.NullString, v any) error {
	if !text.Valid {
		return nil
	}
	if err := json.Unmarshal([]byte(text.String), v); err != nil {
		return fmt.Errorf("decode %s: %w", field, err)
	}
	return nil
}

// clip makes a text that somebody else wrote fit a column: valid UTF-8, without
// NUL, at most so many characters.
func clip(text string, characters int) string {
	if strings.IndexByte(text, 0) >= 0 {
		text = strings.ReplaceAll(text, "\x00", "")
	}
	if len(text) <= characters && utf8.ValidString(text) {
		return text
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	for i := range text {
		if characters == 0 {
			return text[:i]
		}
		characters--
	}
	return text
}
