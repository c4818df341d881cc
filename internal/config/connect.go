package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// pair is one key with its value out of a connect string.
type pair struct{ key, value string }

var errTruncated = errors.New("a quoted value does not end")

// parsePairs splits "k=v k='v w'" into its parts. Blanks separate them and may surround the equals sign.
// With backslash, quotes inside a quoted value are escaped as in libpq's connect strings (\' and \\);
// without, they are doubled, as in pgbouncer.ini. Errors do not quote the text, which may hold passwords.
func parsePairs(text string, backslash bool) ([]pair, error) {
	var pairs []pair
	s := strings.TrimLeft(text, blanks)
	for s != "" {
		n := strings.IndexAny(s, "="+blanks)
		if n == 0 {
			return nil, fmt.Errorf("part %d has no name before =", len(pairs)+1)
		}
		if n < 0 {
			n = len(s)
		}
		p := pair{key: s[:n]}
		s = strings.TrimLeft(s[n:], blanks)
		if !strings.HasPrefix(s, "=") {
			return nil, fmt.Errorf("part %d has no =; values with blanks need single quotes", len(pairs)+1)
		}
		s = strings.TrimLeft(s[1:], blanks)
		var err error
		if p.value, s, err = connectValue(s, backslash); err != nil {
			return nil, fmt.Errorf("part %d: %w", len(pairs)+1, err)
		}
		pairs = append(pairs, p)
		s = strings.TrimLeft(s, blanks)
	}
	return pairs, nil
}

const blanks = " \t\r\n\v\f"

// connectValue reads one value from the start of s and returns the rest.
func connectValue(s string, backslash bool) (v, rest string, err error) {
	quoted := strings.HasPrefix(s, "'")
	var b strings.Builder
	i := 0
	if quoted {
		i = 1
	}
	for i < len(s) {
		c := s[i]
		switch {
		case backslash && c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case quoted && c == '\'':
			if !backslash && i+1 < len(s) && s[i+1] == '\'' {
				i++
				b.WriteByte('\'')
				break
			}
			rest = s[i+1:]
			if rest != "" && !strings.ContainsAny(rest[:1], blanks) {
				return "", "", errors.New("a blank is missing after the closing quote")
			}
			return b.String(), rest, nil
		case !quoted && strings.IndexByte(blanks, c) >= 0:
			return b.String(), s[i:], nil
		default:
			b.WriteByte(c)
		}
		i++
	}
	if quoted {
		return "", "", errTruncated
	}
	return b.String(), "", nil
}

// connectKeys are the names of libpq's connection parameters that are understood, with our key for each.
var connectKeys = map[string]string{
	"host": "host", "port": "port", "dbname": "dbname", "user": "user", "password": "password",
	"application_name": "application_name", "client_encoding": "client_encoding",
	"sslmode": "server_tls_sslmode", "sslrootcert": "server_tls_ca_file",
	"sslcert": "server_tls_cert_file", "sslkey": "server_tls_key_file",
}

var connectKeyNames = []string{
	"host", "port", "dbname", "user", "password", "application_name", "client_encoding",
	"sslmode", "sslrootcert", "sslcert", "sslkey",
}

// translate replaces libpq's names by ours. A name that follows a password is not quoted in the error: it
// may be a part of one that lacks its quotes.
func translate(pairs []pair) ([]pair, error) {
	seen := map[string]bool{}
	for i, p := range pairs {
		key, ok := connectKeys[p.key]
		switch {
		case !ok && seen["password"]:
			return nil, fmt.Errorf("part %d, after the password, is not one of %s; a password with blanks needs single quotes",
				i+1, strings.Join(connectKeyNames, ", "))
		case !ok:
			return nil, fmt.Errorf("%q is not one of %s%s", p.key, strings.Join(connectKeyNames, ", "), didYouMean(p.key, connectKeyNames))
		case seen[key]:
			return nil, fmt.Errorf("%q is given twice", p.key)
		case key == "server_tls_ca_file" && p.value == "system":
			return nil, errors.New("sslrootcert=system: leave sslrootcert out to use the system's authorities")
		}
		seen[key] = true
		pairs[i].key = key
	}
	return pairs, nil
}

// parseDSN reads a connect string in libpq's keyword form into our keys.
func parseDSN(text string) ([]pair, error) {
	pairs, err := parsePairs(text, true)
	if err != nil {
		return nil, err
	}
	return translate(pairs)
}

// parseURL reads postgres://user:password@host:port,host/dbname?key=value into our keys. All hosts must
// have the same port. Errors do not quote the text.
func parseURL(text string) ([]pair, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "postgres" && scheme != "postgresql" {
		return nil, errors.New("a URL begins with postgres:// or postgresql://")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, dbname, _ := strings.Cut(rest, "/")
	if strings.ContainsAny(dbname, "@/") || strings.Contains(query, "@") {
		return nil, errors.New("misplaced / or @; write %2F, %3F and %40 for /, ? and @ inside a user name, password or database name")
	}
	var pairs []pair
	add := func(key, escaped string) error {
		v, err := url.PathUnescape(escaped)
		if err != nil {
			return fmt.Errorf("the %s has a %% that is not followed by two hexadecimal digits", key)
		}
		if v != "" {
			pairs = append(pairs, pair{key, v})
		}
		return nil
	}
	hosts := authority
	var errs []error
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, password, _ := strings.Cut(authority[:i], ":")
		errs = append(errs, add("user", user), add("password", password))
		hosts = authority[i+1:]
	}
	names, port, err := splitHosts(hosts)
	errs = append(errs, err, add("host", names), add("port", port), add("dbname", dbname))
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		k, v, ok := strings.Cut(part, "=")
		if !ok {
			errs = append(errs, errors.New("a parameter after ? has no ="))
			continue
		}
		errs = append(errs, add(k, v))
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return translate(pairs)
}

// splitHosts splits "a:1,[::1]:1" into the names "a,::1" and their common port.
func splitHosts(hosts string) (names, port string, err error) {
	if hosts == "" {
		return "", "", nil
	}
	var list []string
	ports := map[string]bool{}
	for h := range strings.SplitSeq(hosts, ",") {
		name, p := h, ""
		if strings.HasPrefix(h, "[") {
			end := strings.IndexByte(h, ']')
			if end < 0 {
				return "", "", errors.New("an address has no closing ]")
			}
			name, p = h[1:end], h[end+1:]
			if p != "" && p[0] != ':' {
				return "", "", errors.New("only a port may follow an address in []")
			}
			p = strings.TrimPrefix(p, ":")
		} else if i := strings.IndexByte(h, ':'); i >= 0 {
			name, p = h[:i], h[i+1:]
		}
		if strings.Trim(p, "0123456789") != "" {
			return "", "", errors.New("a port is not a number; write %3A for : inside a user name or password")
		}
		if name != "" {
			list = append(list, name)
		}
		ports[p] = true
		port = p
	}
	if len(ports) > 1 {
		return "", "", errors.New("all hosts of a database must have the same port")
	}
	return strings.Join(list, ","), port, nil
}
