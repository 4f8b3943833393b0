"""What an attacker would try: media that reach for more than themselves, secrets that leak, input made of nonsense."""
