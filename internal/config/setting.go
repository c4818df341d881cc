package config

import (
	"time"
)

// Kind is the type of a setting's value.
type Kind uint8

// The kinds.
const (
	KindString   Kind = iota
	KindInt           // decimal, 0x hexadecimal or 0 octal
	KindBool          // true, false, 0 or 1
	KindDuration      // seconds, or a number with a unit of ms, s, min, h, d
	KindEnum          // one of Words, in any case
	KindList          // a list of words
	KindSize          // bytes, or a number with a unit of B, kB, MB, GB
	KindMode          // permission bits of a file
	KindValue         // of several types, looked at by who asked for it; TOML only
	KindTable         // a table of its own; TOML only
	KindTables        // an array of tables; TOML only
)

// String returns the kind's name as the documentation writes it.
func (k Kind) String() string {
	return [...]string{"string", "integer", "boolean", "duration", "word", "list", "size", "file mode", "value", "table", "array of tables"}[k]
}

// Applies says what a changed setting reaches without further ado.
type Applies uint8

// Where changes apply.
const (
	Live       Applies = iota // everything, at once
	NewClients                // clients that log in afterwards
	NewServers                // server connections that are opened afterwards
	Reconnect                 // server connections are replaced as they become idle
	Restart                   // nothing until the process is started again
)

// String returns the words that SHOW CONFIG and the documentation use.
func (a Applies) String() string {
	return [...]string{"live", "new clients", "new servers", "after reconnect", "after restart"}[a]
}

// Setting describes one key of a configuration file: a row of one of the tables.
type Setting struct {
	Name    string
	Aliases []string // other names under which it may be written
	Group   string   // heading in the documentation
	Kind    Kind
	Default string   // as pgbouncer.ini would write it; SHOW CONFIG prints it like this
	Min     int64    // of KindInt, KindSize and KindMode
	Max     int64    // likewise, inclusive
	Words   []string // of KindEnum, in the order of the documentation
	Applies Applies
	Sticky  bool // a value given by SET survives a reload that does not mention the setting
	Secret  bool // never shown
	File    bool // names a file: relative to the configuration file's folder in TOML
	Own     bool // not one of PgBouncer's
	Meaning string

	check func(any) error // further rule on the parsed value; its errors must not quote secrets
}

// Changeable reports what PgBouncer's SHOW CONFIG calls changeable: whether SET and RELOAD have an effect
// before the next start.
func (s *Setting) Changeable() bool { return s.Applies != Restart }

// row is a Setting with the field of T that holds its value.
type row[T any] struct {
	Setting
	field func(*T) any
}

// table is a fixed list of rows with an index by name. It is not changed after it has been made.
type table[T any] struct {
	rows   []*row[T]
	byName map[string]*row[T]
}

func newTable[T any](groups ...[]*row[T]) *table[T] {
	t := &table[T]{byName: map[string]*row[T]{}}
	for _, g := range groups {
		for _, r := range g {
			t.rows = append(t.rows, r)
			t.byName[r.Name] = r
			for _, a := range r.Aliases {
				t.byName[a] = r
			}
		}
	}
	return t
}

func (t *table[T]) names() []string {
	n := make([]string, len(t.rows))
	for i, r := range t.rows {
		n[i] = r.Name
	}
	return n
}

func (t *table[T]) settings() []Setting {
	s := make([]Setting, len(t.rows))
	for i, r := range t.rows {
		s[i] = r.Setting
	}
	return s
}

const maxInt32 = 1<<31 - 1

// The constructors below make rows; the type of field ties the kind to the Go type that can hold it.

func newRow[T, F any](k Kind, name, def string, a Applies, meaning string, field func(*T) *F) *row[T] {
	r := &row[T]{field: func(t *T) any { return field(t) }}
	r.Name, r.Kind, r.Default, r.Applies, r.Meaning = name, k, def, a, meaning
	switch k {
	case KindInt, KindSize:
		r.Max = maxInt32
	case KindMode:
		r.Max = 0o777
	}
	return r
}

func intRow[T any](name, def string, a Applies, meaning string, field func(*T) *int) *row[T] {
	return newRow(KindInt, name, def, a, meaning, field)
}

func boolRow[T any](name, def string, a Applies, meaning string, field func(*T) *bool) *row[T] {
	return newRow(KindBool, name, def, a, meaning, field)
}

func timeRow[T any](name, def string, a Applies, meaning string, field func(*T) *time.Duration) *row[T] {
	return newRow(KindDuration, name, def, a, meaning, field)
}

func textRow[T any](name, def string, a Applies, meaning string, field func(*T) *string) *row[T] {
	return newRow(KindString, name, def, a, meaning, field)
}

func fileRow[T any](name, def string, a Applies, meaning string, field func(*T) *string) *row[T] {
	r := newRow(KindString, name, def, a, meaning, field)
	r.File = true
	return r
}

func wordRow[T, F any](name, def string, words []string, a Applies, meaning string, field func(*T) *F) *row[T] {
	r := newRow(KindEnum, name, def, a, meaning, field)
	r.Words = words
	return r
}

func listRow[T, F any](name, def string, a Applies, meaning string, field func(*T) *F) *row[T] {
	return newRow(KindList, name, def, a, meaning, field)
}

// Modifiers.

func (r *row[T]) within(low, high int64) *row[T]       { r.Min, r.Max = low, high; return r }
func (r *row[T]) alias(names ...string) *row[T]        { r.Aliases = names; return r }
func (r *row[T]) sticky() *row[T]                      { r.Sticky = true; return r }
func (r *row[T]) secret() *row[T]                      { r.Secret = true; return r }
func (r *row[T]) own() *row[T]                         { r.Own = true; return r }
func (r *row[T]) checked(rule func(any) error) *row[T] { r.check = rule; return r }
func inGroup[T any](g string, rows ...*row[T]) []*row[T] {
	for _, r := range rows {
		r.Group = g
	}
	return rows
}

// Table returns the global settings in the order of the documentation and of SHOW CONFIG.
func Table() []Setting { return settingsTable.settings() }

// DatabaseKeys returns the keys of a database entry.
func DatabaseKeys() []Setting { return databaseTable.settings() }

// UserKeys returns the keys of a user entry.
func UserKeys() []Setting { return userTable.settings() }

// PeerKeys returns the keys of a peer entry.
func PeerKeys() []Setting { return peerTable.settings() }

// Lookup returns the global setting of that name or alias.
func Lookup(name string) (Setting, bool) {
	r, ok := settingsTable.byName[name]
	if !ok {
		return Setting{}, false
	}
	return r.Setting, true
}

// IsSecret reports whether a key of that name, in any of the tables, may hold a password and must not be
// shown or logged.
func IsSecret(name string) bool {
	if r, ok := settingsTable.byName[name]; ok && r.Secret {
		return true
	}
	if r, ok := databaseTable.byName[name]; ok && r.Secret {
		return true
	}
	r, ok := userTable.byName[name]
	return ok && r.Secret
}

// FormatValue returns the value of a global setting as SHOW CONFIG prints it: booleans as 0 and 1,
// durations in seconds, permission bits in decimal, lists with commas, secrets as asterisks. An unknown
// name yields "".
func FormatValue(s *Settings, name string) string {
	r, ok := settingsTable.byName[name]
	if !ok {
		return ""
	}
	return r.show(s)
}

// show formats the row's value in t, hiding secrets.
func (r *row[T]) show(t *T) string {
	text := formatField(r.field(t))
	if r.Secret && text != "" {
		return "****"
	}
	return text
}
