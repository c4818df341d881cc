package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Options of [Open].
type Options struct {
	Overrides []Override // settings from the command line
}

// Manager keeps the configuration in force and changes it. All methods may be called from any goroutine,
// but a [Prepare] must not call those that change something.
type Manager struct {
	state  atomic.Pointer[state]
	status atomic.Pointer[Status]

	mu       sync.Mutex // held through a whole change; guards what follows
	autoPath string
	loaded   *loaded  // what the configuration in force was made from
	seen     *fileSet // the files as the last attempt to load saw them, successful or not
	prepares []Prepare
	accepts  string // Config.RowsAccepted of what is published next
}

// state is what readers see; it changes as one.
type state struct {
	cfg      *Config
	warnings []Warning
	pending  map[string]string // what the files say of settings that wait for a restart, as SHOW prints it
}

var _ Controller = (*Manager)(nil)

// Open loads the configuration at path. The error is a [Problems].
func Open(path string, o Options) (*Manager, error) {
	m := &Manager{}
	var commands []entry
	for _, c := range o.Overrides {
		commands = append(commands, commandEntry(c.Name, c.Value, sourceOption))
	}
	l, err := load(loadArgs{path: path, files: newFileSet(), commands: commands})
	if err != nil {
		return nil, err
	}
	m.autoPath, m.loaded, m.seen = l.autoPath, l, l.files
	m.state.Store(&state{cfg: l.cfg, warnings: l.warnings})
	m.status.Store(&Status{})
	return m, nil
}

// Current returns the configuration in force. It must not be written to.
func (m *Manager) Current() *Config { return m.state.Load().cfg }

// Warnings returns what is doubtful in the configuration in force.
func (m *Manager) Warnings() []Warning { return m.state.Load().warnings }

// PendingRestart returns the names of settings whose value in the files differs from the one in force and
// can only be taken on by the next start.
func (m *Manager) PendingRestart() []string { return m.state.Load().pendingNames() }

func (s *state) pendingNames() []string {
	var names []string
	for _, r := range settingsTable.rows {
		if _, ok := s.pending[r.Name]; ok {
			names = append(names, r.Name)
		}
	}
	return names
}

// Status tells whether the last reload was rejected, and why.
func (m *Manager) Status() Status { return *m.status.Load() }

// Subscribe has p asked about every change from now on, in the order of subscription.
func (m *Manager) Subscribe(p Prepare) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prepares = append(m.prepares, p)
}

// Reload reads the files again. Values given by SET are forgotten, except of sticky settings that the
// files do not mention. If anything is wrong, nothing changes; the error is kept in Status.
func (m *Manager) Reload(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reload(ctx)
}

// reloadIfChanged reloads if a file differs from what the last attempt saw, and returns which did.
func (m *Manager) reloadIfChanged(ctx context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := m.seen.changed()
	if len(changed) == 0 {
		return nil, nil
	}
	return changed, m.reload(ctx)
}

func (m *Manager) reload(ctx context.Context) error {
	path := m.Current().ConfFile
	was := m.loaded.files.held(path)
	l, err := load(loadArgs{
		path: path, files: newFileSet(), autoPath: m.autoPath, notEmpty: len(bytes.TrimSpace(was)) > 0,
		commands: m.loaded.commands, keep: survivesReload,
	})
	before := m.seen
	m.seen = l.files
	if err == nil {
		err = m.publish(ctx, l, nil)
	}
	if err != nil && ctx.Err() != nil {
		m.seen = before // given up, not rejected
		return err
	}
	if err != nil {
		for _, path := range before.paths() {
			_, _ = m.seen.read(path) // not to be taken for news when this attempt did not get to it
		}
		m.status.Store(&Status{Err: err.Error(), At: time.Now().Unix()})
		return err
	}
	m.status.Store(&Status{})
	return nil
}

// survivesReload tells whether the value of a command outlives a reload.
func survivesReload(e entry, main, auto *document) bool {
	if e.source == sourceOption {
		return true
	}
	r := settingsTable.byName[e.key]
	same := func(f entry) bool { return settingsTable.canonical(f.key) == r.Name }
	return r.Sticky && !slices.ContainsFunc(main.settings, same) && !slices.ContainsFunc(auto.settings, same)
}

// publish asks all subscribers about l.cfg and puts it in force. persist, if given, runs when nobody has
// objected; its error rejects the change too.
func (m *Manager) publish(ctx context.Context, l *loaded, persist func() error) error {
	old, next := m.Current(), l.cfg
	pending := keepUntilRestart(old, next)
	next.RowsAccepted = m.accepts
	commits := make([]func(), 0, len(m.prepares))
	for _, p := range m.prepares {
		commit, err := p(old, next)
		if err != nil {
			return err
		}
		if commit != nil {
			commits = append(commits, commit)
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("configuration not changed: %w", err)
	}
	if persist != nil {
		if err := persist(); err != nil {
			return err
		}
	}
	m.loaded = l
	for path, c := range l.files.contents {
		if _, ok := m.seen.contents[path]; !ok {
			m.seen.contents[path] = c
		}
	}
	m.state.Store(&state{cfg: next, warnings: l.warnings, pending: pending})
	for _, commit := range commits {
		commit()
	}
	return nil
}

// keepUntilRestart puts old's values of the settings that only a restart changes into next, and returns
// what next said of those that differed.
func keepUntilRestart(old, next *Config) map[string]string {
	pending := map[string]string{}
	for _, r := range settingsTable.rows {
		if r.Applies != Restart {
			continue
		}
		was, is := r.field(&old.Settings), r.field(&next.Settings)
		if formatField(was) == formatField(is) {
			continue
		}
		pending[r.Name] = r.show(&next.Settings)
		reflect.ValueOf(is).Elem().Set(reflect.ValueOf(was).Elem())
		delete(next.origins, r.Name)
		if e, ok := old.origins[r.Name]; ok {
			next.origins[r.Name] = e
		}
	}
	return pending
}

// Set changes a global setting of the running process only. The value is written as in pgbouncer.ini;
// units and words such as "on" are understood too. A setting that needs a restart is checked and left as it is.
func (m *Manager) Set(name, value string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := settingsTable.byName[name]
	if !ok {
		return errors.New(unknownKey(name, "", settingsTable.names()))
	}
	e := commandEntry(r.Name, value, sourceSet)
	if _, err := r.parse(e.value); err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	if r.Applies == Restart {
		return nil
	}
	l := *m.loaded
	l.commands = append(without(l.commands, r.Name), e)
	l.files = m.loaded.files.reuse()
	return m.rebuild(&l, nil)
}

// without returns commands without those that SET name.
func without(commands []entry, name string) []entry {
	return slices.DeleteFunc(slices.Clone(commands), func(e entry) bool {
		return e.source == sourceSet && (e.key == name || name == resetAll)
	})
}

// rebuild builds l anew and publishes it.
func (m *Manager) rebuild(l *loaded, persist func() error) error {
	if err := l.build(m.loaded.cfg.mainFile, &report{}); err != nil {
		return err
	}
	return m.publish(context.Background(), l, persist)
}

// Origins tells for every global setting where its value in force came from.
func (m *Manager) Origins() map[string]Origin {
	s := m.state.Load()
	c := s.cfg
	out := make(map[string]Origin, len(settingsTable.rows))
	for _, r := range settingsTable.rows {
		o := Origin{
			Value: r.show(&c.Settings), Default: r.Default, Source: originDefault,
			Changeable: r.Changeable(), Applies: r.Applies.String(), Meaning: r.Meaning, Pending: s.pending[r.Name],
		}
		if e, ok := c.origins[r.Name]; ok {
			o.Source = e.origin()
			o.Shadows = e.hides.String()
		} else if r.Name == "conffile" {
			o.Source = originCommandLine
		}
		out[r.Name] = o
	}
	return out
}

func (e entry) origin() string {
	switch e.source {
	case sourceAuto:
		return originAuto
	case sourceOption:
		return originCommandLine
	case sourceSet:
		return originSet
	default:
		return e.at.String()
	}
}

// AlterSystem changes a global setting and keeps the value in config.auto.toml. A nil value takes it out
// of there; with the name "ALL", everything global.
func (m *Manager) AlterSystem(name string, value *string) error {
	if slices.Contains(notInAuto, settingsTable.canonical(name)) {
		return fmt.Errorf("%s cannot be kept in %s", name, autoFileName)
	}
	return alter(m, settingsTable, settingsTable.canonical, name, value, "", func(auto *document, _ bool) (*[]entry, error) {
		return &auto.settings, nil
	})
}

// AlterDatabase does the same for a key of a database that is configured, or that "*" stands for.
func (m *Manager) AlterDatabase(database, name string, value *string) error {
	if IsAdminDatabase(database) {
		return fmt.Errorf("%q is the admin database, which has no settings of its own", database)
	}
	where := "[databases." + tomlKey(database) + "]"
	return alter(m, databaseTable, databaseGroup, name, value, where, func(auto *document, reset bool) (*[]entry, error) {
		d := find(auto.databases, database)
		c := m.Current()
		if c.Databases[database] == nil && c.Databases["*"] == nil && !(reset && d != nil) {
			return nil, fmt.Errorf("no such database: %s%s", database, didYouMean(database, slices.Sorted(maps.Keys(c.Databases))))
		}
		if d == nil {
			auto.databases = append(auto.databases, object{name: database, at: position{file: m.autoPath}, source: sourceAuto})
			d = &auto.databases[len(auto.databases)-1]
		}
		return &d.entries, nil
	})
}

// AlterUser does the same for a key of a user that the configuration or auth_file names, or that auth_query may know. A password is for
// the former only: who is in neither must not get in by what is kept here.
func (m *Manager) AlterUser(user, name string, value *string) error {
	where := "[users." + tomlKey(user) + "]"
	return alter(m, userTable, userGroup, name, value, where, func(auto *document, reset bool) (*[]entry, error) {
		u := find(auto.users, user)
		c := m.Current()
		listed := c.Users[user] != nil && !c.Users[user].Unlisted
		switch {
		case listed || reset && u != nil:
		case c.AsksServers() && userGroup(name) == "password":
			return nil, fmt.Errorf("user %q is not in the configuration, and its password is what auth_query finds", user)
		case !c.AsksServers():
			return nil, fmt.Errorf("no such user: %s%s", user, didYouMean(user, slices.Sorted(maps.Keys(c.Users))))
		}
		if u == nil {
			auto.users = append(auto.users, object{name: user, at: position{file: m.autoPath}, source: sourceAuto})
			u = &auto.users[len(auto.users)-1]
		}
		return &u.entries, nil
	})
}

// resetAll is the name that stands for all of them in RESET.
const resetAll = "ALL"

// alter changes one key in config.auto.toml and puts the result in force. entries returns the list of
// the object concerned, or an error if there is no such object.
func alter[T any](
	m *Manager, t *table[T], group func(string) string, name string, text *string, where string,
	entries func(auto *document, reset bool) (*[]entry, error),
) error {
	var change *entry
	if r, ok := t.byName[name]; ok {
		name = r.Name
		if text != nil {
			if !utf8.ValidString(*text) {
				return fmt.Errorf("%s: not valid UTF-8", name)
			}
			parsed, err := r.parse(value{*text, dialectSQL})
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			change = &entry{key: name, value: value{tomlOf(parsed), dialectTOML}, source: sourceAuto}
		}
	} else if isShardingKey(name) && strings.HasPrefix(where, "[databases.") {
		return fmt.Errorf("%s is changed with CREATE, ALTER and DROP of SHARD, KEY and TABLE, and ALTER DATABASE … PLACE", name)
	} else if text != nil || !strings.EqualFold(name, resetAll) {
		return errors.New(unknownKey(name, where, t.names()))
	} else {
		name = resetAll
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	unlock, err := lockFolderOf(m.autoPath)
	if err != nil {
		return err
	}
	defer unlock()
	auto, err := freshAuto(m.autoPath)
	if err != nil {
		return err
	}
	list, err := entries(auto, text == nil)
	if err != nil {
		return err
	}
	*list = slices.DeleteFunc(*list, func(e entry) bool {
		return name == resetAll && !isShardingKey(e.key) || group(e.key) == group(name)
	})
	if change != nil {
		*list = append(*list, *change)
	}
	commands := m.loaded.commands
	if where == "" {
		commands = without(commands, name)
	}
	return m.replaceAuto(auto, commands)
}

// replaceAuto puts auto in force beside the main file and these commands, and writes it to config.auto.toml unless somebody objects.
// The folder must be locked.
func (m *Manager) replaceAuto(auto *document, commands []entry) error {
	isEmpty := func(o object) bool { return len(o.entries) == 0 }
	auto.databases = slices.DeleteFunc(auto.databases, isEmpty)
	auto.users = slices.DeleteFunc(auto.users, isEmpty)
	rendered, err := renderAuto(m.autoPath, auto)
	if err != nil {
		return err
	}

	l := *m.loaded
	l.files = m.loaded.files.reuse(m.autoPath)
	l.files.put(m.autoPath, rendered)
	rep := &report{}
	written := readAuto(m.autoPath, l.files, rep)
	if err := rep.err(); err != nil {
		return err
	}
	l.commands = commands
	l.auto = auto // its positions are those of the file on disk, where a mistake would have to be looked for
	return m.rebuild(&l, func() error {
		if err := writeAuto(m.autoPath, rendered); err != nil {
			return err
		}
		m.seen.put(m.autoPath, rendered)
		l.auto = written
		return nil
	})
}
