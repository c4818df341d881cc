package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
)

// validate checks what single values cannot tell: what contradicts what, and whether files are there.
func (b *builder) validate() {
	b.validateAuth()
	b.validateClientTLS()
	b.validateServerTLS("", b.cfg.ServerTLSCertFile, b.cfg.ServerTLSKeyFile, b.cfg.ServerTLSCAFile,
		func(key string) position { return b.at(key) })
	for name, d := range b.cfg.Databases {
		where := " in [databases." + tomlKey(name) + "]"
		at := func(key string) position { return b.keyAt("databases", name, key) }
		b.validateServer(d, where, at)
		if b.cfg.AuthType == "any" && d.User == "" {
			b.warnf(at(""), "auth_type any does not tell users apart: set user%s, or clients log in to the server without a known password", where)
		}
		if d.AuthQuery != "" && !strings.Contains(d.AuthQuery, "$1") {
			b.warnf(at("auth_query"), "auth_query%s has no $1 for the user's name", where)
		}
	}
	b.cfg.shardServers(func(d *Database, s *Shard) {
		b.validateServer(&s.Database, fmt.Sprintf(" in shard %q of [databases.%s]", s.Name, tomlKey(d.Name)), func(key string) position {
			return b.keyAt(shardSection(d.Name), s.Name, key)
		})
	})
	if b.cfg.MinPoolSize > b.cfg.DefaultPoolSize {
		b.warnf(b.at("min_pool_size"), "min_pool_size is %d, more than default_pool_size of %d, which wins", b.cfg.MinPoolSize, b.cfg.DefaultPoolSize)
	}
	if b.cfg.ListenAddr == "" && b.cfg.UnixSocketDir == "" {
		b.warnf(b.at("listen_addr"), "neither listen_addr nor unix_socket_dir is set: there is nothing to listen on")
	}
	for _, s := range withoutEffect {
		if r := settingsTable.byName[s.key]; r.show(&b.cfg.Settings) != r.Default {
			b.warnf(b.at(s.key), "%s has no effect: %s", s.key, s.why)
		}
	}
}

// withoutEffect are settings that files for PgBouncer may have and that mean nothing here.
var withoutEffect = [...]struct{ key, why string }{
	{"pkt_buf", "buffers are shared, and taken only while there is something in them"},
	{"sbuf_loopcnt", "every client has a turn of its own"},
	{"dns_zone_check_period", "zones are not polled; dns_max_ttl says how long addresses are remembered"},
	{"suspend_timeout", "there is no SUSPEND yet"},
	{"peer_id", "cancel requests are not passed on to peers yet"},
	{"client_tls_dheparams", "no cipher suite with finite-field Diffie-Hellman is offered"},
}

// validateServer checks what a database and a shard have in common.
func (b *builder) validateServer(d *Database, where string, at func(string) position) {
	b.validateServerTLS(where, d.ServerTLSCertFile, d.ServerTLSKeyFile, d.ServerTLSCAFile, at)
	size := over(b.cfg.DefaultPoolSize, d.PoolSize)
	if least := over(b.cfg.MinPoolSize, d.MinPoolSize); least > size && (d.PoolSize != nil || d.MinPoolSize != nil) {
		b.warnf(at("min_pool_size"), "min_pool_size%s is %d, more than its pool_size of %d, which wins", where, least, size)
	}
	for _, h := range d.Hosts {
		if strings.ContainsAny(h, blanks) {
			b.errorf(at("host"), "host%s contains a blank; several hosts are separated by commas", where)
		}
	}
}

func (b *builder) validateAuth() {
	c := b.cfg
	switch c.AuthType {
	case "hba":
		if c.AuthHBAFile == "" {
			b.errorf(b.at("auth_type"), "auth_type hba needs auth_hba_file")
		}
	case "cert":
		if c.ClientTLSSSLMode != "verify-full" && c.ClientTLSSSLMode != "verify-ca" {
			b.errorf(b.at("auth_type"), "auth_type cert needs client_tls_sslmode verify-full or verify-ca, not %s", c.ClientTLSSSLMode)
		}
	case "ldap":
		if c.AuthLDAPOptions == "" {
			b.errorf(b.at("auth_type"), "auth_type ldap needs auth_ldap_options")
		}
	case "trust", "plain", "md5", "scram-sha-256":
		if len(c.Users) == 0 && !c.AsksServers() {
			b.warnf(b.at("auth_type"), "no user can log in: auth_type %s needs [users], auth_file, or auth_user for auth_query", c.AuthType)
		}
	}
	if c.AuthUser != "" && c.AuthQuery == "" {
		b.errorf(b.at("auth_user"), "auth_user is of no use with an empty auth_query")
	}
	if c.AuthQuery != "" && !strings.Contains(c.AuthQuery, "$1") {
		b.warnf(b.at("auth_query"), "auth_query has no $1 for the user's name")
	}
}

func (b *builder) validateClientTLS() {
	c := b.cfg
	if c.ClientTLSSSLMode != "disable" {
		for _, need := range []struct{ key, file string }{
			{"client_tls_key_file", c.ClientTLSKeyFile}, {"client_tls_cert_file", c.ClientTLSCertFile},
		} {
			if need.file == "" {
				b.errorf(b.at("client_tls_sslmode"), "client_tls_sslmode %s needs %s", c.ClientTLSSSLMode, need.key)
			}
		}
		if strings.HasPrefix(c.ClientTLSSSLMode, "verify-") && c.ClientTLSCAFile == "" {
			b.errorf(b.at("client_tls_sslmode"), "client_tls_sslmode %s needs client_tls_ca_file", c.ClientTLSSSLMode)
		}
	}
	b.keyPair("client_tls_cert_file", c.ClientTLSCertFile, "client_tls_key_file", c.ClientTLSKeyFile, "", b.at)
	b.authorities("client_tls_ca_file", c.ClientTLSCAFile, "", b.at)
}

func (b *builder) validateServerTLS(where, cert, key, ca string, at func(string) position) {
	if cert != "" && key == "" {
		b.errorf(at("server_tls_cert_file"), "server_tls_cert_file%s needs server_tls_key_file", where)
	}
	if key != "" && cert == "" {
		b.errorf(at("server_tls_key_file"), "server_tls_key_file%s needs server_tls_cert_file", where)
	}
	b.keyPair("server_tls_cert_file", cert, "server_tls_key_file", key, where, at)
	b.authorities("server_tls_ca_file", ca, where, at)
}

// keyPair checks that a certificate and its key can be read and belong together. They are also noted as
// files to watch.
func (b *builder) keyPair(certKey, certFile, keyKey, keyFile, where string, at func(string) position) {
	cert, certOK := b.tlsFile(certKey, certFile, where, at)
	key, keyOK := b.tlsFile(keyKey, keyFile, where, at)
	if !certOK || !keyOK {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		b.errorf(at(certKey), "%s and %s%s: %v", certKey, keyKey, where, err)
	}
}

func (b *builder) authorities(key, file, where string, at func(string) position) {
	if text, ok := b.tlsFile(key, file, where, at); ok && !x509.NewCertPool().AppendCertsFromPEM(text) {
		b.errorf(at(key), "%s%s: %s holds no certificate in PEM form", key, where, file)
	}
}

func (b *builder) tlsFile(key, file, where string, at func(string) position) ([]byte, bool) {
	if file == "" {
		return nil, false
	}
	text, err := b.files.read(file)
	if err != nil {
		b.errorf(at(key), "%s%s: cannot read %s: %v", key, where, file, why(err))
		return nil, false
	}
	return text, true
}
