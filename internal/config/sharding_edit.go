package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ShardingChange is one change to the shards, keys and tables of a database. The types of sharding_changes.go are all there are.
type ShardingChange interface{ apply(*shardingEdit) error }

// ChangeError says why a change was refused.
type ChangeError struct {
	Code    string // SQLSTATE
	Message string
	Hint    string
}

func (e *ChangeError) Error() string { return e.Message }

// The SQLSTATEs of ChangeError.
const (
	codeUndefined  = "42704" // undefined_object
	codeDuplicate  = "42710" // duplicate_object
	codeDependent  = "2BP01" // dependent_objects_still_exist
	codeInvalid    = "22023" // invalid_parameter_value
	codeNotInState = "55000" // object_not_in_prerequisite_state
)

func refuse(code, format string, args ...any) *ChangeError {
	return &ChangeError{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *ChangeError) withHint(format string, args ...any) *ChangeError {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// shardingEdit is what changes work on: how a database is sharded, which nobody else has a hold of.
type shardingEdit struct {
	name string
	*Sharding
	raw   []any           // of shards, as TOML: inherited values and references to files stay what they are
	dirty map[string]bool // which keys of the database are to be written
	reset bool            // all of them are to be taken out
	notes []string        // for who made the change
	// accepted: rows are looked for elsewhere than before, and whoever made the change has said that he knows.
	accepted bool
}

func (e *shardingEdit) notef(format string, args ...any) {
	e.notes = append(e.notes, fmt.Sprintf(format, args...))
}

func (e *shardingEdit) hasShard(name string) error {
	names := make([]string, len(e.Shards))
	for i := range e.Shards {
		if names[i] = e.Shards[i].Name; names[i] == name {
			return nil
		}
	}
	return refuse(codeUndefined, "shard %q of database %q does not exist%s", name, e.name, didYouMean(name, names))
}

func (e *shardingEdit) key(name string) (Key, error) {
	k, ok := e.Keys[name]
	if !ok {
		return k, refuse(codeUndefined, "key %q of database %q does not exist%s", name, e.name, didYouMean(name, slices.Sorted(maps.Keys(e.Keys))))
	}
	return k, nil
}

func (e *shardingEdit) setKey(k Key) {
	if e.Keys == nil {
		e.Keys = map[string]Key{}
	}
	e.Keys[k.Name] = k
	e.dirty[cfgKeys] = true
}

// placeOf tells where the rows of a table are now, "" for nowhere.
func (e *shardingEdit) placeOf(t TableName) string {
	for _, name := range slices.Sorted(maps.Keys(e.Keys)) {
		if _, ok := e.Keys[name].Columns[t]; ok {
			return fmt.Sprintf("spread by key %q", name)
		}
	}
	if slices.Contains(e.ReferenceTables, t) {
		return "on every shard"
	}
	if shard := e.Schemas[t.Schema]; shard != "" {
		return fmt.Sprintf("on shard %q with all of schema %q", shard, t.Schema)
	}
	if e.DefaultShard != "" {
		return fmt.Sprintf("on shard %q, the default", e.DefaultShard)
	}
	return ""
}

// isListed reports whether a table has an entry of its own.
func (e *shardingEdit) isListed(t TableName) bool {
	for _, k := range e.Keys {
		if _, ok := k.Columns[t]; ok {
			return true
		}
	}
	return slices.Contains(e.ReferenceTables, t)
}

// movesNoRows refuses a change after which rows would be looked for where they are not, unless it is asked for in so many words.
func (e *shardingEdit) movesNoRows(accepted bool, format string, args ...any) error {
	if accepted {
		e.accepted = true
		return nil
	}
	return refuse(codeNotInState, "%s", fmt.Sprintf(format, args...)).
		withHint("The command changes where rows are looked for; it does not move them. If the rows are there already, or there are none, add WITHOUT MOVING ROWS.")
}

// AlterSharding makes one change to how a database is sharded and keeps it in config.auto.toml, where from then on the part that was
// changed (shards, keys, reference tables, schemas or default shard) wins over the main file. The notes are for who asked.
// The error is a ChangeError, a Problems, or about files.
func (m *Manager) AlterSharding(database string, change ShardingChange) (notes []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.Current().Databases
	if known[database] == nil || database == "*" {
		return nil, refuse("3D000", "no such database: %s%s", database, didYouMean(database, slices.Sorted(maps.Keys(known))))
	}
	unlock, err := lockFolderOf(m.autoPath)
	if err != nil {
		return nil, err
	}
	defer unlock()
	auto, err := freshAuto(m.autoPath)
	if err != nil {
		return nil, err
	}
	edit, err := m.shardingEdit(database, auto)
	if err != nil {
		return nil, err
	}
	if err := change.apply(edit); err != nil {
		return nil, err
	}
	if !edit.write(auto, m.autoPath, m.loaded.main) {
		return edit.notes, nil
	}
	if edit.accepted {
		m.accepts = database
		defer func() { m.accepts = "" }()
	}
	return edit.notes, m.replaceAuto(auto, m.loaded.commands)
}

// shardingEdit builds the configuration as auto would have it, from which the change starts.
func (m *Manager) shardingEdit(database string, auto *document) (*shardingEdit, error) {
	l := *m.loaded
	l.files = m.loaded.files.reuse(m.autoPath)
	l.auto = auto
	if err := l.build(m.loaded.cfg.mainFile, &report{}); err != nil {
		return nil, err
	}
	d := l.cfg.Databases[database]
	if d == nil {
		return nil, refuse("3D000", "no such database: %s", database)
	}
	e := &shardingEdit{name: database, Sharding: &d.Sharding, dirty: map[string]bool{}}
	for _, doc := range []*document{m.loaded.main, auto} {
		if o := find(doc.databases, database); o != nil {
			for _, entry := range o.entries {
				if list, ok := entry.value.raw.([]any); ok && entry.key == cfgShards {
					e.raw = list
				}
			}
		}
	}
	for i, s := range e.raw { // the documents are shared with the configuration in force
		if m, ok := s.(map[string]any); ok {
			e.raw = slices.Clone(e.raw)
			e.raw[i] = maps.Clone(m)
		}
	}
	return e, nil
}

// write puts what has changed into auto, and reports whether anything has.
func (e *shardingEdit) write(auto *document, path string, main *document) bool {
	o := find(auto.databases, e.name)
	if o == nil {
		auto.databases = append(auto.databases, object{name: e.name, at: position{file: path}, source: sourceAuto})
		o = &auto.databases[len(auto.databases)-1]
	}
	for _, s := range shardingRows {
		if !e.dirty[s.Name] && !e.reset {
			continue
		}
		o.entries = slices.DeleteFunc(o.entries, func(old entry) bool { return old.key == s.Name })
		raw, empty := e.rawOf(s.Name)
		inMain := find(main.databases, e.name)
		if e.reset || empty && (inMain == nil || !hasKey(inMain.entries, s.Name)) {
			continue
		}
		o.entries = append(o.entries, entry{key: s.Name, value: value{raw, dialectTOML}, at: position{file: path}, source: sourceAuto})
	}
	return len(e.dirty) > 0 || e.reset
}

// rawOf returns the value of a key as TOML has it.
func (e *shardingEdit) rawOf(key string) (raw any, empty bool) {
	texts := func(list []string) any {
		if len(list) == 1 {
			return list[0]
		}
		return tomlOf(list)
	}
	switch key {
	case cfgShards:
		return append([]any{}, e.raw...), len(e.raw) == 0
	case cfgReference:
		list := make([]any, len(e.ReferenceTables))
		for i, t := range e.ReferenceTables {
			list[i] = t.plain()
		}
		return list, len(list) == 0
	case cfgSchemas:
		m := map[string]any{}
		for schema, shard := range e.Schemas {
			m[schema] = shard
		}
		return m, len(m) == 0
	case cfgDefaultShard:
		return e.DefaultShard, e.DefaultShard == ""
	}
	keys := map[string]any{}
	for name, k := range e.Keys {
		columns := map[string]any{}
		for t, list := range k.Columns {
			columns[t.plain()] = texts(list)
		}
		m := map[string]any{"type": texts(k.Types), "columns": columns}
		if len(k.Bounds) > 0 {
			placement := make([]any, len(k.Bounds))
			for i, b := range k.Bounds {
				placement[i] = b.Placed()
			}
			m["placement"] = placement
		}
		keys[name] = m
	}
	return keys, len(keys) == 0
}

// writeTable writes the value of a key as tables of their own below path, if that is what it is.
func writeTable(b *strings.Builder, path string, raw any) (bool, error) {
	body := func(m map[string]any) error {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			text, ok := tomlValue(m[k])
			if !ok {
				return fmt.Errorf("%s: %s must not be %s", path, k, tomlTypeName(m[k]))
			}
			fmt.Fprintf(b, "%s = %s\n", tomlKey(k), text)
		}
		return nil
	}
	switch v := raw.(type) {
	case map[string]any: // of tables
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if _, ok := v[k].(map[string]any); !ok {
				return false, nil
			}
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			fmt.Fprintf(b, "\n[%s.%s]\n", path, tomlKey(k))
			if err := body(v[k].(map[string]any)); err != nil {
				return true, err
			}
		}
		return len(v) > 0, nil
	case []any:
		for _, e := range v {
			if _, ok := e.(map[string]any); !ok {
				return false, nil
			}
		}
		for _, e := range v {
			fmt.Fprintf(b, "\n[[%s]]\n", path)
			if err := body(e.(map[string]any)); err != nil {
				return true, err
			}
		}
		return len(v) > 0, nil
	}
	return false, nil
}
