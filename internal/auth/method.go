package auth

import (
	"fmt"
	"strings"
)

// Method is a way in which a client proves who it is.
type Method string

// The methods. MethodHBA is no method of its own: the caller looks the method up in an [HBA] first.
const (
	MethodAny    Method = "any"
	MethodTrust  Method = "trust"
	MethodReject Method = "reject" // pg_hba.conf only
	MethodPlain  Method = "plain"  // "password" in pg_hba.conf
	MethodMD5    Method = "md5"
	MethodSCRAM  Method = "scram-sha-256"
	MethodCert   Method = "cert"
	MethodPeer   Method = "peer"
	MethodHBA    Method = "hba"
)

// methods is the one list of what this build can do: which word is allowed where, and as what.
var methods = [...]struct {
	word          string
	method        Method
	authType, hba bool
}{
	{"any", MethodAny, true, false},
	{"trust", MethodTrust, true, true},
	{"reject", MethodReject, false, true},
	{"plain", MethodPlain, true, false},
	{"password", MethodPlain, true, true},
	{"md5", MethodMD5, true, true},
	{"scram-sha-256", MethodSCRAM, true, true},
	{"cert", MethodCert, true, true},
	{"peer", MethodPeer, true, true},
	{"hba", MethodHBA, true, false},
}

// AsksPassword reports whether the client is asked for a password or a proof of it.
func (m Method) AsksPassword() bool {
	return m == MethodPlain || m == MethodMD5 || m == MethodSCRAM
}

// ParseMethod reads the value of auth_type. The error lists what is supported.
func ParseMethod(s string) (Method, error) {
	for _, m := range methods {
		if m.authType && m.word == strings.ToLower(s) {
			return m.method, nil
		}
	}
	return "", unknownMethod(s, false)
}

func parseHBAMethod(s string) (Method, error) {
	for _, m := range methods {
		if m.hba && m.word == s {
			return m.method, nil
		}
	}
	return "", unknownMethod(s, true)
}

func unknownMethod(s string, hba bool) error {
	var known []string
	for _, m := range methods {
		if hba && m.hba || !hba && m.authType {
			known = append(known, m.word)
		}
	}
	return fmt.Errorf("authentication method %q is not supported; supported are %s", s, strings.Join(known, ", "))
}
