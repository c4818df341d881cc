package pgtest

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// The superuser of every cluster. By the Unix socket it enters without its password.
const (
	Superuser         = "postgres"
	SuperuserPassword = "postgres"
)

// A User is a role that may log in.
type User struct {
	Name     string
	Password string // "" = none: it cannot log in where a password is asked for
	Grants   string // further options of CREATE ROLE, such as "REPLICATION CREATEDB"
}

// A Database is created when the cluster is.
type Database struct {
	Name  string
	Owner string // "" = the superuser
}

// Options choose what a cluster is like. The zero value is a cluster of the installed version that asks
// for SCRAM passwords over TCP.
type Options struct {
	Version   int               // major version; 0 = by the environment variable PG, or what is installed
	Port      int               // 0 = a free one
	Auth      string            // over TCP: scram-sha-256 (default), md5, password, trust, cert
	HBA       []string          // lines of pg_hba.conf that come before all others
	Ident     []string          // lines of pg_ident.conf
	TLS       bool              // server certificate for localhost, 127.0.0.1 and ::1; plain stays possible
	CA        *CA               // signs the server's certificate and is trusted for clients'; implies TLS; nil = a new one
	Settings  map[string]string // postgresql.conf, over pgtest's own choice
	Users     []User
	Databases []Database
}

// An Option changes Options; Start takes any number.
type Option func(*Options)

// WithVersion asks for a major version, which comes from npm.
func WithVersion(major int) Option { return func(o *Options) { o.Version = major } }

// WithPort asks for a certain TCP port.
func WithPort(port int) Option { return func(o *Options) { o.Port = port } }

// WithAuth sets the method for TCP connections: scram-sha-256, md5, password, trust or cert (which turns TLS on).
func WithAuth(method string) Option { return func(o *Options) { o.Auth = method } }

// WithHBA puts lines in front of the generated pg_hba.conf.
func WithHBA(lines ...string) Option {
	return func(o *Options) { o.HBA = append(o.HBA, lines...) }
}

// WithIdent adds lines to pg_ident.conf.
func WithIdent(lines ...string) Option {
	return func(o *Options) { o.Ident = append(o.Ident, lines...) }
}

// WithTLS gives the server a certificate; ca may be nil for a CA of its own.
func WithTLS(ca *CA) Option {
	return func(o *Options) { o.TLS, o.CA = true, ca }
}

// WithSetting sets one line of postgresql.conf, such as wal_level or max_prepared_transactions.
func WithSetting(name, value string) Option {
	return func(o *Options) {
		if o.Settings == nil {
			o.Settings = map[string]string{}
		}
		o.Settings[name] = value
	}
}

// WithUser creates a role that may log in.
func WithUser(name, password string) Option {
	return func(o *Options) { o.Users = append(o.Users, User{Name: name, Password: password}) }
}

// WithDatabase creates a database; owner "" is the superuser.
func WithDatabase(name, owner string) Option {
	return func(o *Options) { o.Databases = append(o.Databases, Database{Name: name, Owner: owner}) }
}

// authMethods are the methods that the generated pg_hba.conf can carry; others go in by HBA lines.
var authMethods = map[string]bool{"scram-sha-256": true, "md5": true, "password": true, "trust": true, "cert": true}

// complete fills in what follows from other options and refuses what cannot work.
func (o *Options) complete() error {
	if o.Auth == "" {
		o.Auth = "scram-sha-256"
	}
	if !authMethods[o.Auth] {
		return fmt.Errorf("unknown auth method %q: use scram-sha-256, md5, password, trust or cert, or HBA lines", o.Auth)
	}
	if o.CA != nil || o.Auth == "cert" {
		o.TLS = true
	}
	if o.Port < 0 || o.Port > 65535 {
		return fmt.Errorf("port %d is not between 0 and 65535", o.Port)
	}
	for name, value := range o.Settings {
		if strings.ContainsAny(name, " =\n'") || name == "" {
			return fmt.Errorf("setting %q: not a name", name)
		}
		if strings.Contains(value, "\n") {
			return fmt.Errorf("setting %s: its value has a line break", name)
		}
	}
	for _, u := range o.Users {
		if u.Name == "" {
			return errors.New("a user has no name")
		}
	}
	return nil
}

// passwordEncryption is how the cluster stores passwords: md5 only where md5 is what is tested.
func (o *Options) passwordEncryption() string {
	if o.Auth == "md5" {
		return "md5"
	}
	return "scram-sha-256"
}

// hba returns pg_hba.conf.
func (o *Options) hba() string {
	var b strings.Builder
	for _, l := range o.HBA {
		b.WriteString(l + "\n")
	}
	kind := "host"
	if o.Auth == "cert" {
		kind = "hostssl"
	}
	fmt.Fprintf(&b, "local all %s trust\nlocal replication %s trust\n", Superuser, Superuser)
	local := o.Auth
	if local == "cert" {
		local = "scram-sha-256" // there is no TLS on a Unix socket
	}
	fmt.Fprintf(&b, "local all all %s\nlocal replication all %s\n", local, local)
	for _, from := range [...]string{"127.0.0.1/32", "::1/128"} {
		fmt.Fprintf(&b, "%s all all %s %s\n%s replication all %s %s\n", kind, from, o.Auth, kind, from, o.Auth)
	}
	return b.String()
}

// baseSettings make a server quick to start and stop and cheap to run several of.
var baseSettings = map[string]string{
	"fsync":                      "off",
	"synchronous_commit":         "off",
	"full_page_writes":           "off",
	"shared_buffers":             "32MB",
	"max_connections":            "100",
	"max_wal_senders":            "10",
	"max_replication_slots":      "10",
	"wal_level":                  "replica",
	"wal_keep_size":              "64MB",
	"autovacuum_naptime":         "1min",
	"jit":                        "off",
	"logging_collector":          "off",
	"log_destination":            "stderr",
	"log_line_prefix":            "%m [%p] %q%u@%d ",
	"log_timezone":               "UTC",
	"timezone":                   "UTC",
	"dynamic_shared_memory_type": "mmap", // files in the data directory, which go with it whatever happens
	"listen_addresses":           "127.0.0.1",
}

// conf returns the settings file: base, then over, later ones winning.
func conf(layers ...map[string]string) string {
	merged := map[string]string{}
	for _, l := range layers {
		for k, v := range l {
			merged[strings.ToLower(k)] = v
		}
	}
	names := make([]string, 0, len(merged))
	for k := range merged {
		names = append(names, k)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, k := range names {
		fmt.Fprintf(&b, "%s = %s\n", k, quoteLiteral(merged[k]))
	}
	return b.String()
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
