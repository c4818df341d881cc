package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// builder makes a Config out of a merged document.
type builder struct {
	report
	files   *fileSet
	baseDir string
	main    position // the main file as a whole
	cfg     *Config
	// origins has an entry for each setting that is not at its default.
	origins map[string]entry
	// places tells where keys of objects stand: "databases\x00NAME\x00KEY".
	places map[string]position
}

// build turns doc into a Config. The result is meant to be used only if the report has no problems.
func build(mainFile string, doc *document, files *fileSet) (*Config, *report) {
	b := &builder{
		files: files, baseDir: doc.baseDir, main: position{file: mainFile},
		cfg: &Config{
			mainFile:  mainFile,
			Databases: map[string]*Database{}, Users: map[string]*User{}, Peers: map[int]*Peer{},
		},
		origins: map[string]entry{}, places: map[string]position{},
	}
	b.buildSettings(doc.settings)
	if b.cfg.ConfFile == "" {
		b.cfg.ConfFile = mainFile
	}
	logins := b.readLogins()
	for _, o := range b.withTemplate(doc.databases) {
		b.buildDatabase(o)
	}
	for _, o := range doc.users {
		b.buildUser(o, logins)
	}
	b.joinLogins(logins)
	for _, o := range doc.peers {
		b.buildPeer(o)
	}
	b.cfg.HBA = b.readRules("auth_hba_file", b.cfg.AuthHBAFile, b.cfg.AuthType == "hba")
	b.cfg.Ident = b.readRules("auth_ident_file", b.cfg.AuthIdentFile, true)
	b.validate()
	b.cfg.origins = b.origins
	return b.cfg, &b.report
}

// apply stores entries in target by the rows of t and returns where each of them stands. where names the
// object in messages, "" for the global settings.
func apply[T any](b *builder, t *table[T], target *T, entries []entry, where string) map[string]entry {
	return applyWith(b, t, target, entries, where)
}

// applyWith is apply for an object that has other keys besides those of t; they are named when an unknown key is like them.
func applyWith[T any](b *builder, t *table[T], target *T, entries []entry, where string, others ...string) map[string]entry {
	seen := map[string]entry{}
	in := ""
	if where != "" {
		in = " in " + where
	}
	for _, e := range entries {
		r, ok := t.byName[e.key]
		if !ok {
			b.errorf(e.at, "%s", unknownKey(e.key, where, append(t.names(), others...)))
			continue
		}
		if before, twice := seen[r.Name]; twice && e.value.dialect == dialectTOML && before.source == e.source {
			b.errorf(e.at, "%s%s is also given as %s", e.key, in, before.key)
			continue
		}
		if _, isTable := e.value.raw.(map[string]any); isTable {
			hint := ""
			if where == "" && slices.Contains(sectionNames, e.key+"s") { // [user.x]
				hint = "; did you mean [" + e.key + "s.…]?"
			}
			b.errorf(e.at, "%s%s must be %s, not a table%s", e.key, in, r.wants(), hint)
			continue
		}
		parsed, err := r.parse(e.value)
		if err != nil {
			b.errorf(e.at, "%s%s: %v", e.key, in, err)
			continue
		}
		if r.File {
			parsed = b.path(parsed.(string))
		}
		store(r.field(target), parsed)
		seen[r.Name] = e
	}
	return seen
}

// unknownKey words the error for a key that has no row, with the likeliest reason.
func unknownKey(key, where string, names []string) string {
	hint := didYouMean(key, names)
	if isShardingKey(key) && slices.Contains(names, key) {
		hint = "; it can only be given in a TOML file"
	}
	kind := "key"
	if where == "" {
		kind = "setting"
		if slices.Contains(sectionNames, key+"s") {
			hint = fmt.Sprintf("; did you mean [%ss.NAME]?", key)
		} else if _, ok := databaseTable.byName[key]; ok {
			hint = "; it is a key of a database" + hint
		}
	} else if _, ok := settingsTable.byName[key]; ok {
		hint = "; it is a global setting, which must stand above the first [section]"
	}
	if where != "" {
		where = " in " + where
	}
	return fmt.Sprintf("unknown %s %q%s%s", kind, key, where, hint)
}

// path resolves a file name of the configuration.
func (b *builder) path(name string) string {
	if name == "" || b.baseDir == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(b.baseDir, name)
}

func (b *builder) buildSettings(entries []entry) {
	defaults(&b.cfg.Settings)
	b.origins = apply(b, settingsTable, &b.cfg.Settings, entries, "")
}

// defaults sets every setting to the default of its row.
func defaults(s *Settings) {
	for _, r := range settingsTable.rows {
		v, err := r.parse(value{r.Default, dialectINI})
		if err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", r.Name, err)) // a row of the table is wrong
		}
		store(r.field(s), v)
	}
}

// at tells where a setting was given; the main file as a whole if it was not.
func (b *builder) at(setting string) position {
	if e, ok := b.origins[setting]; ok {
		return e.at
	}
	return b.main
}

// keyAt tells where a key of an object was given, or else the object.
func (b *builder) keyAt(section, name, key string) position {
	if p, ok := b.places[section+"\x00"+name+"\x00"+key]; ok {
		return p
	}
	return b.places[section+"\x00"+name+"\x00"]
}

func (b *builder) note(section string, o object, seen map[string]entry) {
	b.places[section+"\x00"+o.name+"\x00"] = o.at
	for k, e := range seen {
		b.places[section+"\x00"+o.name+"\x00"+k] = e.at
	}
}

// withTemplate completes the databases that only config.auto.toml names: they are copies of "*".
func (b *builder) withTemplate(databases []object) []object {
	template := find(databases, "*")
	var out []object
	for _, o := range databases {
		if o.source == sourceAuto && o.name != "*" {
			if template == nil {
				b.warnf(o.at, "database %q has values here but is not in the configuration any more; they are ignored", o.name)
				continue
			}
			o.entries = overlay(template.entries, o.entries, databaseGroup)
		}
		out = append(out, o)
	}
	return out
}

func (b *builder) buildDatabase(o object) {
	where := fmt.Sprintf("[databases.%s]", tomlKey(o.name))
	switch {
	case IsAdminDatabase(o.name):
		b.errorf(o.at, "database name %q is reserved for the admin database", o.name)
		return
	case o.name == "" || strings.IndexByte(o.name, 0) >= 0:
		b.errorf(o.at, "a database name must not be empty or contain a zero byte")
		return
	case len(o.name) > maxDatabaseName:
		b.errorf(o.at, "database name %q is longer than %d bytes", o.name, maxDatabaseName)
		return
	}
	d := &databaseKeys{Database: Database{Name: o.name, Source: o.at.String(), Port: 5432}}
	plain, sharding := splitSharding(o.entries)
	seen := applyWith(b, databaseTable, d, plain, where, shardingNames()...)
	b.note("databases", o, seen)
	b.connectStrings(d, seen, where)
	b.login(&d.loginKeys, &d.Password, seen, where)
	if d.DBName == "" && o.name != "*" {
		d.DBName = o.name
	}
	if d.ServerLifetime != nil && *d.ServerLifetime == 0 {
		d.ServerLifetime = nil
	}
	if len(d.User) > maxUserName {
		b.errorf(b.keyAt("databases", o.name, "user"), "user in %s is longer than %d bytes", where, maxUserName)
	}
	b.buildSharding(d, sharding, where)
	b.cfg.Databases[o.name] = &d.Database
}

// connectStrings fills in what url or dsn say and no key beside them does.
func (b *builder) connectStrings(d *databaseKeys, seen map[string]entry, where string) {
	key, text, parse := "url", string(d.url), parseURL
	if d.dsn != "" {
		if d.url != "" {
			b.errorf(seen["dsn"].at, "dsn and url in %s exclude each other", where)
			return
		}
		key, text, parse = "dsn", string(d.dsn), parseDSN
	}
	if text == "" {
		return
	}
	pairs, err := parse(text)
	if err != nil {
		b.errorf(seen[key].at, "%s in %s: %v", key, where, err)
		return
	}
	hasPassword := false
	for _, k := range passwordKeys {
		_, given := seen[k]
		hasPassword = hasPassword || given
	}
	for _, p := range pairs {
		if _, given := seen[p.key]; given || p.key == "password" && hasPassword {
			continue
		}
		r := databaseTable.byName[p.key]
		v, err := r.parse(value{p.value, dialectConnect})
		if err != nil {
			b.errorf(seen[key].at, "%s in %s: %s: %v", key, where, p.key, err)
			continue
		}
		if r.File {
			v = b.path(v.(string))
		}
		store(r.field(d), v)
	}
}

// passwordKeys are the ways to give a password; only one may be used.
var passwordKeys = []string{"password", "password_env", "password_file"}

// givesPassword reports whether one of them is there.
func (o *object) givesPassword() bool {
	return slices.ContainsFunc(o.entries, func(e entry) bool { return slices.Contains(passwordKeys, e.key) })
}

// login fetches a password from where password_env or password_file point.
func (b *builder) login(k *loginKeys, password *Secret, seen map[string]entry, where string) {
	var given []string
	for _, name := range passwordKeys {
		if _, ok := seen[name]; ok {
			given = append(given, name)
		}
	}
	if len(given) > 1 {
		b.errorf(seen[given[1]].at, "%s in %s exclude each other", strings.Join(given, " and "), where)
		return
	}
	switch {
	case k.passwordEnv != "":
		v, ok := os.LookupEnv(k.passwordEnv)
		if !ok {
			b.errorf(seen["password_env"].at, "password_env in %s: the environment has no variable %q", where, k.passwordEnv)
		}
		*password = Secret(v)
	case k.passwordFile != "":
		data, err := b.files.read(k.passwordFile)
		if err != nil {
			b.errorf(seen["password_file"].at, "password_file in %s: cannot read %s: %v", where, k.passwordFile, why(err))
		}
		*password = Secret(strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"))
	}
	if len(given) == 1 {
		if len(*password) > maxPassword {
			b.errorf(seen[given[0]].at, "%s in %s is longer than %d bytes", given[0], where, maxPassword)
		}
		if strings.IndexByte(string(*password), 0) >= 0 {
			b.errorf(seen[given[0]].at, "%s in %s contains a zero byte", given[0], where)
		}
	}
}

func (b *builder) buildUser(o object, logins map[string]login) {
	where := fmt.Sprintf("[users.%s]", tomlKey(o.name))
	switch {
	case o.name == "" || strings.IndexByte(o.name, 0) >= 0:
		b.errorf(o.at, "a user name must not be empty or contain a zero byte")
		return
	case len(o.name) > maxUserName:
		b.errorf(o.at, "user name %q is longer than %d bytes", o.name, maxUserName)
		return
	}
	_, inAuthFile := logins[o.name]
	unlisted := o.source == sourceAuto && !inAuthFile
	if unlisted && (!b.cfg.AsksServers() || o.givesPassword()) { // a user that was taken out must not stay by its password here
		b.warnf(o.at, "user %q has values here but is not in the configuration any more; they are ignored", o.name)
		return
	}
	u := &userKeys{User: User{Name: o.name, Source: o.at.String(), Unlisted: unlisted}}
	seen := apply(b, userTable, u, o.entries, where)
	b.note("users", o, seen)
	b.login(&u.loginKeys, &u.Password, seen, where)
	u.FromAuthFile = inAuthFile && !o.givesPassword()
	if u.FromAuthFile {
		u.Password = logins[o.name].password
	}
	u.HasPassword = inAuthFile || o.givesPassword()
	b.cfg.Users[o.name] = &u.User
}

// readLogins reads auth_file.
func (b *builder) readLogins() map[string]login {
	logins := map[string]login{}
	file := b.cfg.AuthFile
	if file == "" {
		return logins
	}
	text, err := b.files.read(file)
	if err != nil {
		b.errorf(b.at("auth_file"), "auth_file: cannot read %s: %v", file, why(err))
		return logins
	}
	list, err := parseUserlist(file, text)
	if err != nil {
		b.problems = append(b.problems, problemsOf(err)...)
		return logins
	}
	for _, l := range list {
		if before, twice := logins[l.user]; twice {
			b.warnf(position{file: file, line: l.line}, "user %q is also on line %d; this line is used", l.user, before.line)
		}
		logins[l.user] = l
	}
	return logins
}

// joinLogins adds the users that only auth_file names.
func (b *builder) joinLogins(logins map[string]login) {
	for name, l := range logins {
		if b.cfg.Users[name] == nil {
			b.cfg.Users[name] = &User{
				Name: name, Source: position{file: b.cfg.AuthFile, line: l.line}.String(),
				Password: l.password, HasPassword: true, FromAuthFile: true,
			}
		}
	}
}

// readRules reads the contents of auth_hba_file or auth_ident_file. A file that is not needed may be missing.
func (b *builder) readRules(setting, file string, needed bool) []byte {
	if file == "" {
		return nil
	}
	text, err := b.files.read(file)
	if err != nil {
		if needed {
			b.errorf(b.at(setting), "%s: cannot read %s: %v", setting, file, why(err))
		} else {
			b.warnf(b.at(setting), "%s: cannot read %s: %v; it is not needed with auth_type %s", setting, file, why(err), b.cfg.AuthType)
		}
		return nil
	}
	if text == nil {
		text = []byte{}
	}
	return text
}

func (b *builder) buildPeer(o object) {
	id, err := strconv.Atoi(o.name)
	if limit := settingsTable.byName["peer_id"].Max; err != nil || id < 1 || id > int(limit) || strconv.Itoa(id) != o.name {
		b.errorf(o.at, "a peer is named by its number from 1 to %d, not %q", limit, o.name)
		return
	}
	where := fmt.Sprintf("[peers.%d]", id)
	p := &Peer{ID: id, Port: 6432, PoolSize: b.cfg.DefaultPoolSize}
	seen := apply(b, peerTable, p, o.entries, where)
	b.note("peers", o, seen)
	if _, bad := seen["host"]; !bad && !slices.ContainsFunc(o.entries, func(e entry) bool { return e.key == "host" }) {
		b.errorf(o.at, "%s has no host", where)
	}
	b.cfg.Peers[id] = p
}

// databaseGroup is the canonical name of a key of a database, for merging: keys that say the same thing
// in different ways replace one another.
func databaseGroup(key string) string {
	switch name := databaseTable.canonical(key); name {
	case "password_env", "password_file":
		return "password"
	case "dsn":
		return "url"
	default:
		return name
	}
}

// userGroup is likewise for a user.
func userGroup(key string) string {
	if slices.Contains(passwordKeys, key) {
		return "password"
	}
	return userTable.canonical(key)
}
