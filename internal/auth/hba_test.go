package auth

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// memFiles makes a confReader read from a map.
func memFiles(files map[string]string) *confReader {
	return &confReader{
		opens: new(int),
		readFile: func(name string) ([]byte, error) {
			if s, ok := files[name]; ok {
				return []byte(s), nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		},
		readDir: func(string) ([]os.DirEntry, error) { return nil, fs.ErrNotExist },
	}
}

func TestHBAMatch(t *testing.T) {
	t.Parallel()
	const file = `# comment
local   all             postgres                                peer map=os
local   all             all                                     md5     # trailing comment
hostssl all             "cert user"     0.0.0.0/0               cert
hostssl secure          all             10.0.0.0  255.0.0.0     trust clientcert=verify-full
hostnossl secure        all             all                     reject
host    replication     rep             10.1.0.0/16             scram-sha-256
host    sameuser        all             10.2.0.0/16             trust
host    "all"           x               all                     trust
host    a,b, c          u1,u2           10.3.0.0/16             password
host    /^app_\d+$      /^u             10.4.0.0/16             md5
host    @dbs            @users.txt      10.5.0.0/16             trust
host    all             all             samehost                trust
hostgssenc all          all             all                     trust
host \
   long \
   all 10.6.0.0/16 trust
include more.conf
include_if_exists nothing.conf
host    six             all             2001:db8::/32           trust
host    six             all             2001:db9:: ffff:ffff::  md5
`
	h, err := parseHBA(memFiles(map[string]string{
		"/etc/pg/dbs":       "one two # words\n\"three\",four\n@more-dbs",
		"/etc/pg/more-dbs":  "five",
		"/etc/pg/users.txt": "alice\nbob",
		"/etc/pg/more.conf": "host inc all 0.0.0.0/0 trust",
	}), "/etc/pg/hba.conf", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(h.Files(), " "); got != "/etc/pg/dbs /etc/pg/more-dbs /etc/pg/users.txt /etc/pg/more.conf /etc/pg/nothing.conf" {
		t.Errorf("files: %s", got)
	}
	tcp := func(addr, db, user string) HBAConn {
		return HBAConn{Addr: netip.MustParseAddr(addr), Database: db, User: user}
	}
	ssl := func(c HBAConn) HBAConn { c.TLS = true; return c }
	rep := func(c HBAConn) HBAConn { c.Replication = true; return c }
	tests := []struct {
		name string
		conn HBAConn
		want string // line and method, "" for no rule
	}{
		{"local postgres", HBAConn{Local: true, Database: "x", User: "postgres"}, "2 peer"},
		{"local other", HBAConn{Local: true, Database: "x", User: "ann"}, "3 md5"},
		{"quoted user over TLS", ssl(tcp("1.2.3.4", "x", "cert user")), "4 cert"},
		{"quoted user without TLS", tcp("1.2.3.4", "x", "cert user"), ""},
		{"mask in two fields", ssl(tcp("10.9.9.9", "secure", "u")), "5 trust"},
		{"mask in two fields, IPv4 in IPv6", ssl(tcp("::ffff:10.9.9.9", "secure", "u")), "5 trust"},
		{"outside of the mask", ssl(tcp("11.9.9.9", "secure", "u")), ""},
		{"hostnossl", tcp("10.9.9.9", "secure", "u"), "6 reject"},
		{"physical replication", rep(tcp("10.1.2.3", "", "rep")), "7 scram-sha-256"},
		{"physical replication is not all", rep(tcp("10.6.0.1", "", "other")), ""},
		{"a database called replication is not the keyword", tcp("10.1.2.3", "replication", "rep"), ""},
		{"sameuser", tcp("10.2.0.1", "ann", "ann"), "8 trust"},
		{"sameuser of another", tcp("10.2.0.1", "ann", "bob"), ""},
		{"a quoted keyword is a name", tcp("1.1.1.1", "all", "x"), "9 trust"},
		{"a quoted keyword is only a name", tcp("1.1.1.1", "other", "x"), ""},
		{"list", tcp("10.3.0.1", "c", "u2"), "10 plain"},
		{"not in the list", tcp("10.3.0.1", "d", "u2"), ""},
		{"regular expression", tcp("10.4.0.1", "app_12", "upper"), "11 md5"},
		{"regular expression that does not match", tcp("10.4.0.1", "app_x", "upper"), ""},
		{"file lists", tcp("10.5.0.1", "five", "bob"), "12 trust"},
		{"file lists that do not match", tcp("10.5.0.1", "six", "bob"), ""},
		{"samehost", tcp("127.0.0.1", "zzz", "zzz"), "13 trust"},
		{"continued line", tcp("10.6.0.1", "long", "u"), "15 trust"},
		{"included file", tcp("9.9.9.9", "inc", "u"), "1 trust"},
		{"IPv6", tcp("2001:db8::1", "six", "u"), "20 trust"},
		{"IPv6 with a zone is matched without", tcp("2001:db8::1%eth0", "six", "u"), "20 trust"},
		{"IPv6 mask", tcp("2001:db9::1", "six", "u"), "21 md5"},
		{"no address", HBAConn{Database: "six", User: "u"}, ""},
	}
	for _, tc := range tests {
		got := ""
		if r, ok := h.Match(tc.conn); ok {
			got = r.Source[strings.LastIndexByte(r.Source, ':')+1:] + " " + string(r.Method)
		}
		if got != tc.want {
			t.Errorf("%s:\n got %q\nwant %q", tc.name, got, tc.want)
		}
	}
	r, _ := h.Match(ssl(tcp("10.9.9.9", "secure", "u")))
	if r.ClientCert != CertFull {
		t.Error("clientcert is lost")
	}
	r, _ = h.Match(HBAConn{Local: true, User: "postgres"})
	if r.MapName != "os" || r.Source != "/etc/pg/hba.conf:2" {
		t.Errorf("got %+v", r)
	}
}

// Whatever cannot be understood refuses the whole file, and says where.
func TestHBAErrors(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"loop": "include loop", "empty": "# nothing\n", "loops": "@loops @loops @loops @loops", "bad": "\n\nhost x",
	}
	for line, want := range map[string]string{
		"foo all all trust":                              `f:2: unknown connection type "foo"`,
		"local":                                          "f:2: line ends before the database",
		"local all":                                      "f:2: line ends before the database",
		"local all all":                                  "f:2: line ends before the authentication method",
		"host all all trust":                             `f:2: "trust" is not an IP address (host names are not supported)`,
		"host all all .example.com trust":                "is not an IP address",
		"host all all 10.0.0.0 trust":                    `netmask "trust" is not an IP address`,
		"host all all 10.0.0.0 ::1 trust":                "is of another family",
		"host all all 10.0.0.0/33 trust":                 "is not a number in 0..32",
		"host all all 10.0.0.0/-1 trust":                 "is not a number in 0..32",
		"host all all fe80::1%eth0/64 trust":             "is not an IP address",
		"host all all all":                               "line ends before the authentication method",
		"host all all all,samenet trust":                 "several values for the address",
		"host all all all trust,md5":                     "several values for the authentication method",
		"host all all all ldap ldapserver=x":             `"ldap" is not supported; supported are trust, reject, password, md5, scram-sha-256, cert, peer`,
		"host all all all pam":                           `"pam" is not supported`,
		"host all all all gss":                           `"gss" is not supported`,
		"host all all all TRUST":                         `"TRUST" is not supported`,
		"host all all all peer":                          "peer authentication is for local",
		"host all all all ident":                         `"ident" is not supported`,
		"host all all all cert":                          "cert authentication is for hostssl",
		"host all all all trust clientcert=verify-ca":    "clientcert is for hostssl",
		"hostssl all all all trust clientcert=1":         "is neither verify-ca nor verify-full",
		"hostssl all all all cert clientcert=verify-ca":  "contradicts method cert",
		"hostssl all all all cert clientname=DN":         "only CN is",
		"hostssl all all all cert map=":                  "has no value",
		"host all all all trust map=x":                   "for methods peer and cert only",
		"host all all all trust nonsense":                "not of the form name=value",
		"host all all all trust a=b":                     `unknown authentication option "a"`,
		"host all +grp all trust":                        "+grp is not supported",
		"host samerole all all trust":                    "samerole is not supported",
		"host samegroup all all trust":                   "samegroup is not supported",
		"host /( all all trust":                          `regular expression "("`,
		"host all /[ all trust":                          `regular expression "["`,
		`host "all all all trust`:                        "f:2: quote is not closed",
		"host @nothing all all trust":                    "f:2: open nothing",
		"host @empty all all trust":                      "@empty names nothing",
		"host @loops all all trust":                      "deep",
		"include":                                        "include takes one name",
		"include nothing":                                "f:2: open nothing",
		"include loop":                                   "more than 10 deep",
		"include bad":                                    "bad:3: line ends before",
		"include_dir nodir":                              "file does not exist",
		"host all\x00 all all trust":                     "NUL byte",
		"host all all all trust clientcert=verify-full ": "clientcert is for hostssl",
	} {
		_, err := parseHBA(memFiles(files), "f", []byte("# first\n"+line+"\nhost all all all trust\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", line, err, want)
		}
	}
}

func TestHBAFromDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/d", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"d/2.conf": "host b all all md5", "d/1.conf": "host a all all trust", "d/x": "garbage"} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h, err := ParseHBA(dir+"/hba", []byte("include_dir d"))
	if err != nil || h.Len() != 2 || len(h.Files()) != 2 {
		t.Fatalf("got %+v, %v", h, err)
	}
	if _, err := ParseHBA(dir+"/hba", []byte("include none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestIdent(t *testing.T) {
	t.Parallel()
	id, err := ParseIdent("ident", []byte(`
# map   system          database
m       root            postgres
m       "with blank"    ann
m       /^(.*)@corp$    \1
m       /^adm           all
m       ops             /^ops_
other   root            all
q       root            "all"
`))
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[[3]string]bool{
		{"m", "root", "postgres"}:   true,
		{"m", "root", "ann"}:        false,
		{"m", "with blank", "ann"}:  true,
		{"m", "joe@corp", "joe"}:    true,
		{"m", "joe@corp", "jim"}:    false,
		{"m", "admin", "anybody"}:   true,
		{"m", "ops", "ops_1"}:       true,
		{"m", "ops", "dev_1"}:       false,
		{"other", "root", "x"}:      true,
		{"q", "root", "x"}:          false,
		{"q", "root", "all"}:        true,
		{"none", "root", "root"}:    false,
		{"m", "ROOT", "postgres"}:   false,
		{"m", "x joe@corp", "joe"}:  false,
		{"m", "joe@corp2", "joe"}:   false,
		{"m", "nobody", "postgres"}: false,
	} {
		if got := id.Match(in[0], in[1], in[2]); got != want {
			t.Errorf("%q: got %t", in, got)
		}
	}
	if (*Ident)(nil).Match("m", "root", "root") {
		t.Error("no file maps somebody")
	}
	for line, want := range map[string]string{
		"m root":          "this one has 2 fields",
		"m root a b":      "this one has 4 fields",
		"m a,b c":         "several values",
		`m root \1`:       `has \1`,
		`m /^root \1`:     `has \1`,
		"m /( x":          "regular expression",
		"m root +grp":     "+grp is not supported",
		`m "root a`:       "quote is not closed",
		"m root /[":       "regular expression",
		"include no-file": "no such file",
	} {
		_, err := ParseIdent("ident", []byte("\n"+line))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "ident:2: ") {
			t.Errorf("%s\n got %v\nwant %s", line, err, want)
		}
	}
}

func FuzzParseHBA(f *testing.F) {
	for _, s := range []string{
		"host all all 0.0.0.0/0 md5", "local a,b \"c d\" peer map=x", "host @l /x$ ::1/128 trust", "include l", "a\\\n b \"\"\"\"",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHBA(memFiles(map[string]string{"l": "one two\n@m", "m": "x"}), "f", []byte(s))
		if err != nil {
			return
		}
		r, ok := h.Match(HBAConn{Addr: netip.MustParseAddr("10.0.0.1"), Database: "d", User: "u"})
		if ok && (r.Method == "" || r.Source == "") {
			t.Fatalf("empty rule %+v", r)
		}
	})
}

func FuzzParseIdent(f *testing.F) {
	f.Add("m /(.*) \\1\nm a b")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := parseIdent(memFiles(nil), "f", []byte(s)); err == nil {
			id.Match("m", "a", "b")
		}
	})
}

// Words must come out as PostgreSQL's own reader would take them apart.
func TestTokens(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`a b`:           `a|b`,
		`a,b c`:         `a,b|c`,
		`a, b c`:        `a,b|c`,
		`a ,b`:          `a|b`,
		`"a b" c`:       `"a b"|c`,
		`"a""b"`:        `"a"b"`,
		`""`:            `""`,
		`x"y z"w`:       `xy zw`,
		`"" x`:          `""|x`,
		`""""`:          `"""`,
		"\ta\t\tb#c":    `a|b`,
		`a"#"b # c "`:   `a#b`,
		`a,`:            `a`,
		`# only`:        ``,
		"a\\":           `a\`,
		`"quoted","q2"`: `"quoted","q2"`,
	} {
		r := memFiles(nil)
		if err := r.read("f", []byte(in), 0); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		var fields []string
		for _, l := range r.lines {
			for _, f := range l.fields {
				var words []string
				for _, w := range f {
					if w.quoted {
						w.text = `"` + w.text + `"`
					}
					words = append(words, w.text)
				}
				fields = append(fields, strings.Join(words, ","))
			}
		}
		if got := strings.Join(fields, "|"); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}
