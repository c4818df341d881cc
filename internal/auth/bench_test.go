package auth

import "testing"

// The second login of a user must not cost a PBKDF2 (about a millisecond), in whatever shape its password is
// stored.
func BenchmarkSCRAMLogin(b *testing.B) {
	stored := scramSecret(b, "s3cret")
	for _, bm := range []struct {
		name   string
		secret Secret
	}{{"stored secret", stored}, {"plain password", ParseSecret("s3cret")}} {
		b.Run(bm.name, func(b *testing.B) {
			h := NewHasher(HasherOptions{})
			v := NewVerifier(VerifierOptions{Hasher: h})
			req := Request{Method: MethodSCRAM, User: "ann", Known: true, Secret: bm.secret}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := runLogin(b, v, req, Credentials{User: "ann", Plain: "s3cret"}, LoginOptions{Hasher: h}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
