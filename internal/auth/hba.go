package auth

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// CertMode is clientcert= of an HBA rule: whether a certificate is needed besides the method's proof.
type CertMode uint8

// Certificate modes.
const (
	CertNone CertMode = iota
	CertCA            // "verify-ca": one that a trusted authority signed
	CertFull          // "verify-full": and its common name is, or maps to, the user
)

// HBA is a parsed pg_hba.conf. It is immutable.
type HBA struct {
	rules []hbaRule
	files []string
}

// Rule is what a matching line demands.
type Rule struct {
	Source     string // "file:line"
	Method     Method
	MapName    string // map=, for cert and peer
	ClientCert CertMode
}

// HBAConn is what rules look at.
type HBAConn struct {
	Local    bool       // a Unix socket; Addr is then ignored
	TLS      bool       // encrypted
	Addr     netip.Addr // of the client
	Database string
	User     string
	// Replication says that the client asked for physical replication: only rules that name "replication"
	// match then. Logical replication names a database and is matched like any other connection.
	Replication bool
}

type connType uint8

const (
	connLocal connType = iota
	connHost
	connHostSSL
	connHostNoSSL
	connHostGSS
	connHostNoGSS
)

var connTypes = map[string]connType{
	"local": connLocal, "host": connHost, "hostssl": connHostSSL, "hostnossl": connHostNoSSL,
	"hostgssenc": connHostGSS, "hostnogssenc": connHostNoGSS,
}

type addrKind uint8

const (
	addrAll addrKind = iota
	addrMask
	addrSameHost
	addrSameNet
)

type hbaRule struct {
	Rule
	conn      connType
	databases []hbaName
	users     []hbaName
	addr      addrKind
	ip, mask  []byte // 4 or 16 bytes each
}

// hbaName is one word of a database or user list.
type hbaName struct {
	word nameWord
	text string
	re   *regexp.Regexp
}

type nameWord uint8

const (
	nameExact nameWord = iota
	nameAll
	nameSameUser
	nameReplication
	nameRegexp
)

// ParseHBA parses a pg_hba.conf. file names it in messages, and relative names of included files and @lists are
// relative to its directory. It understands PostgreSQL's syntax; what it does not support (group membership, host
// names, methods) and whatever it cannot read is an error for the whole file that names file and line: skipping
// a line, as PgBouncer does, could skip a reject. Regular expressions are Go's (RE2).
func ParseHBA(file string, data []byte) (*HBA, error) {
	return parseHBA(newConfReader(), file, data)
}

func parseHBA(r *confReader, file string, data []byte) (*HBA, error) {
	if err := r.read(file, data, 0); err != nil {
		return nil, err
	}
	h := &HBA{files: r.files}
	for i := range r.lines {
		rule, err := parseRule(&r.lines[i])
		if err != nil {
			return nil, err
		}
		h.rules = append(h.rules, rule)
	}
	return h, nil
}

// Files returns the other files that were read because the file names them, for watching them.
func (h *HBA) Files() []string { return slices.Clone(h.files) }

// Len returns the number of rules.
func (h *HBA) Len() int { return len(h.rules) }

func parseRule(l *confLine) (hbaRule, error) {
	rule := hbaRule{Rule: Rule{Source: l.file + ":" + strconv.Itoa(l.line)}}
	fields := l.fields
	// next returns the only word of the next field.
	next := func(what string) (confToken, error) {
		if len(fields) == 0 {
			return confToken{}, l.errorf("line ends before the %s", what)
		}
		f := fields[0]
		if fields = fields[1:]; len(f) != 1 {
			return confToken{}, l.errorf("several values for the %s", what)
		}
		return f[0], nil
	}
	word, err := next("connection type")
	if err != nil {
		return rule, err
	}
	var known bool
	if rule.conn, known = connTypes[word.text]; !known {
		return rule, l.errorf("unknown connection type %q", word.text)
	}
	if len(fields) < 2 {
		return rule, l.errorf("line ends before the database and the user")
	}
	for _, w := range fields[0] {
		n, err := databaseName(w)
		if err != nil {
			return rule, l.errorf("%w", err)
		}
		rule.databases = append(rule.databases, n)
	}
	for _, w := range fields[1] {
		n, err := userName(w)
		if err != nil {
			return rule, l.errorf("%w", err)
		}
		rule.users = append(rule.users, n)
	}
	fields = fields[2:]
	if rule.conn != connLocal {
		if word, err = next("address"); err != nil {
			return rule, err
		}
		needMask, err := rule.address(word)
		if err != nil {
			return rule, l.errorf("%w", err)
		}
		if needMask {
			if word, err = next("netmask (or /length behind the address)"); err != nil {
				return rule, err
			}
			if err := rule.netmask(word.text); err != nil {
				return rule, l.errorf("%w", err)
			}
		}
	}
	if word, err = next("authentication method"); err != nil {
		return rule, err
	}
	method := word.text
	if method == "ident" && rule.conn == connLocal {
		method = "peer" // as PostgreSQL reads it
	}
	if rule.Method, err = parseHBAMethod(method); err != nil {
		return rule, l.errorf("%w", err)
	}
	for _, f := range fields {
		for _, w := range f {
			if err := rule.option(w.text); err != nil {
				return rule, l.errorf("%w", err)
			}
		}
	}
	switch {
	case rule.Method == MethodPeer && rule.conn != connLocal:
		return rule, l.errorf("peer authentication is for local connections only")
	case rule.Method == MethodCert && rule.conn != connHostSSL:
		return rule, l.errorf("cert authentication is for hostssl connections only")
	case rule.ClientCert != CertNone && rule.conn != connHostSSL:
		return rule, l.errorf("clientcert is for hostssl connections only")
	}
	return rule, nil
}

func databaseName(w confToken) (hbaName, error) {
	if !w.quoted {
		switch w.text {
		case "all":
			return hbaName{word: nameAll}, nil
		case "sameuser":
			return hbaName{word: nameSameUser}, nil
		case "replication":
			return hbaName{word: nameReplication}, nil
		case "samerole", "samegroup":
			return hbaName{}, fmt.Errorf("%s is not supported, since role memberships are not known here: list the databases", w.text)
		}
	}
	return nameOrRegexp(w)
}

func userName(w confToken) (hbaName, error) {
	if !w.quoted {
		if w.text == "all" {
			return hbaName{word: nameAll}, nil
		}
		if strings.HasPrefix(w.text, "+") {
			return hbaName{}, fmt.Errorf("%s is not supported, since role memberships are not known here: "+
				"list the users, name a file of them (@file) or give a regular expression (/…)", w.text)
		}
	}
	return nameOrRegexp(w)
}

func nameOrRegexp(w confToken) (hbaName, error) {
	if expr, ok := strings.CutPrefix(w.text, "/"); ok {
		re, err := regexp.Compile(expr)
		if err != nil {
			return hbaName{}, fmt.Errorf("regular expression %q: %w", expr, err)
		}
		return hbaName{word: nameRegexp, re: re}, nil
	}
	return hbaName{text: w.text}, nil
}

// address reads the address field; needMask says that the mask is a field of its own.
func (r *hbaRule) address(w confToken) (needMask bool, err error) {
	if !w.quoted {
		switch w.text {
		case "all":
			r.addr = addrAll
			return false, nil
		case "samehost":
			r.addr = addrSameHost
			return false, nil
		case "samenet":
			r.addr = addrSameNet
			return false, nil
		}
	}
	r.addr = addrMask
	text, bits, slash := strings.Cut(w.text, "/")
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		return false, fmt.Errorf("%q is not an IP address (host names are not supported)", text)
	}
	r.ip = ip.AsSlice()
	if !slash {
		return true, nil
	}
	n, err := strconv.ParseUint(bits, 10, 8)
	if err != nil || int(n) > ip.BitLen() {
		return false, fmt.Errorf("%q: the length behind the slash is not a number in 0..%d", w.text, ip.BitLen())
	}
	r.mask = net.CIDRMask(int(n), ip.BitLen())
	return false, nil
}

func (r *hbaRule) netmask(s string) error {
	m, err := netip.ParseAddr(s)
	if err != nil || m.Zone() != "" {
		return fmt.Errorf("netmask %q is not an IP address", s)
	}
	if r.mask = m.AsSlice(); len(r.mask) != len(r.ip) {
		return fmt.Errorf("netmask %q is of another family than its address", s)
	}
	return nil // a mask with holes is odd, but PostgreSQL takes it
}

func (r *hbaRule) option(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("option %q is not of the form name=value", s)
	}
	switch name {
	case "map":
		if r.Method != MethodCert && r.Method != MethodPeer {
			return fmt.Errorf("option map is for methods peer and cert only")
		}
		if value == "" {
			return fmt.Errorf("option map has no value")
		}
		r.MapName = value
	case "clientcert":
		switch {
		case value == "verify-full":
			r.ClientCert = CertFull
		case value == "verify-ca" && r.Method == MethodCert:
			return fmt.Errorf("clientcert=verify-ca contradicts method cert, which verifies the name as well")
		case value == "verify-ca":
			r.ClientCert = CertCA
		default:
			return fmt.Errorf("clientcert=%q is neither verify-ca nor verify-full", value)
		}
	case "clientname":
		if value != "CN" {
			return fmt.Errorf("clientname=%q is not supported, only CN is", value)
		}
	default:
		return fmt.Errorf("unknown authentication option %q", name)
	}
	return nil
}
