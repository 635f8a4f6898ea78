module realms

go 1.26.8
